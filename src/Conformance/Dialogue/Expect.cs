using System.Diagnostics.CodeAnalysis;
using System.Globalization;

namespace Vhost.Conformance;

/// <summary>What a case asks of the peer. What is expected completes "expected …", what came follows it in words of its own: "expected …; …".</summary>
internal static class Expect
{
    public static void That([DoesNotReturnIf(false)] bool condition, string expected, string came)
    {
        if (!condition)
            throw Failed(expected, came);
    }

    public static void Equal<T>(T expected, T came, string what)
    {
        if (!EqualityComparer<T>.Default.Equals(expected, came))
            throw Failed($"{what} = {Text(expected)}", $"{what} = {Text(came)}");
    }

    public static void Bytes(ReadOnlySpan<byte> expected, ReadOnlySpan<byte> came, string what)
    {
        int same = expected.CommonPrefixLength(came);
        if (same != expected.Length || same != came.Length)
            throw Failed($"{what} of {expected.Length} bytes, unchanged", $"{what} of {came.Length} bytes, different from byte {same} on");
    }

    public static CaseEndedException Failed(string expected, string came) => new(ConformanceVerdict.Fail, expected, came);

    /// <summary>As <see cref="Failed"/>, where the peer did harm: memory is not as it was.</summary>
    public static CaseEndedException Harmed(string expected, string came) => new(ConformanceVerdict.Fail, expected, came) { IsHarm = true };

    /// <summary>What the case needs is not there, which shows only while it runs.</summary>
    public static CaseEndedException Skipped(string reason) => new(ConformanceVerdict.Skip, "", reason);

    private static string Text<T>(T value) => value switch
    {
        ulong number when number > ushort.MaxValue => string.Create(CultureInfo.InvariantCulture, $"0x{number:x}"),
        IFormattable number => number.ToString(null, CultureInfo.InvariantCulture),
        _ => value?.ToString() ?? "nothing",
    };
}
