using System.Text.Json.Serialization;

namespace Vhost.Tool;

/// <summary>What <c>--json</c> prints; names in snake_case.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.SnakeCaseLower, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingNull)]
[JsonSerializable(typeof(ProbeReport))]
[JsonSerializable(typeof(BlockInfoReport))]
[JsonSerializable(typeof(TransferReport))]
[JsonSerializable(typeof(VerifyReport))]
[JsonSerializable(typeof(BenchReport))]
[JsonSerializable(typeof(NetBenchReport))]
[JsonSerializable(typeof(ServeReport))]
[JsonSerializable(typeof(EntropyReport))]
[JsonSerializable(typeof(ConsoleReport))]
[JsonSerializable(typeof(SwitchReport))]
[JsonSerializable(typeof(CapabilitiesReport))]
[JsonSerializable(typeof(TracedMessageReport))]
[JsonSerializable(typeof(TraceSummaryReport))]
[JsonSerializable(typeof(ReplayReport))]
internal sealed partial class ToolJson : JsonSerializerContext;
