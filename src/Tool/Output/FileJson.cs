using System.Text.Json.Serialization;

namespace Vhost.Tool;

/// <summary>What is printed to become a file that people read too.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, WriteIndented = true)]
[JsonSerializable(typeof(DescriptionReport))]
internal sealed partial class FileJson : JsonSerializerContext;
