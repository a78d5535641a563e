using System.Text.Json;
using System.Text.Json.Serialization;
using System.Text.Json.Serialization.Metadata;

namespace Vhost.Bench.Compare;

/// <summary>What is written: what it was measured on and what came of it.</summary>
internal sealed record CompareReport
{
    private static readonly JsonSerializerOptions _options = new()
    {
        PropertyNamingPolicy = JsonNamingPolicy.SnakeCaseLower,
        WriteIndented = true,
        Encoder = System.Text.Encodings.Web.JavaScriptEncoder.UnsafeRelaxedJsonEscaping,
        TypeInfoResolver = new DefaultJsonTypeInfoResolver(),
    };

    public required Machine Machine { get; init; }

    public required ProbeReport Probe { get; init; }

    public required IReadOnlyList<Row> Rows { get; init; }

    [JsonIgnore]
    internal bool HasFailures => Rows.Any(row => row.Error is not null);

    /// <summary>Replaces the file as a whole.</summary>
    internal void Write(string path)
    {
        string draft = path + ".new";
        File.WriteAllText(draft, JsonSerializer.Serialize(this, _options) + "\n");
        File.Move(draft, path, overwrite: true);
    }
}
