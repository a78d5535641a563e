using System.Text.Json.Serialization;

namespace Vhost.Proxy;

/// <summary>A message as it stands in a recording: one line of JSON.</summary>
internal sealed record RecordedLine
{
    /// <summary>In the first line alone: which format follows.</summary>
    public string? Format { get; init; }

    public int? Version { get; init; }

    public long Number { get; init; }

    public int Session { get; init; }

    public string? Channel { get; init; }

    public string? From { get; init; }

    /// <summary>Since the proxy began.</summary>
    public long Microseconds { get; init; }

    public uint Request { get; init; }

    public uint Flags { get; init; }

    /// <summary>As the header said, whatever there was.</summary>
    public uint Size { get; init; }

    /// <summary>Hexadecimal digits.</summary>
    public string? Payload { get; init; }

    public RecordedDescriptor?[]? Descriptors { get; init; }

    /// <summary>The number of the request that it answers.</summary>
    public long? Answers { get; init; }

    /// <summary>For whoever reads it; nothing else makes use of it.</summary>
    public string? Text { get; init; }

    public string? Fault { get; init; }
}

/// <summary>A descriptor that came with it.</summary>
internal sealed record RecordedDescriptor(string Kind, ulong Size, ulong File);

/// <summary>How lines are written and read.</summary>
[JsonSourceGenerationOptions(PropertyNamingPolicy = JsonKnownNamingPolicy.CamelCase, DefaultIgnoreCondition = JsonIgnoreCondition.WhenWritingDefault, UnmappedMemberHandling = JsonUnmappedMemberHandling.Skip)]
[JsonSerializable(typeof(RecordedLine))]
internal sealed partial class RecordedJson : JsonSerializerContext;
