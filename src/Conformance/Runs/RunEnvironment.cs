using System.Runtime.InteropServices;

namespace Vhost.Conformance;

/// <summary>What a finding may depend on besides the peer.</summary>
internal static class RunEnvironment
{
    public static IReadOnlyList<KeyValuePair<string, string>> Describe() =>
    [
        new("suite", typeof(RunEnvironment).Assembly.GetName().Version?.ToString(3) ?? ""),
        new("runtime", RuntimeInformation.FrameworkDescription),
        new("system", RuntimeInformation.OSDescription),
        new("architecture", RuntimeInformation.ProcessArchitecture.ToString()),
        new("processors", Environment.ProcessorCount.ToString(System.Globalization.CultureInfo.InvariantCulture)),
    ];
}
