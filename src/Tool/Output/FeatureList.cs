namespace Vhost.Tool;

/// <summary>A feature word as a list of names.</summary>
internal static class FeatureList
{
    internal static string[] Of(ulong word, Func<int, string> nameOfBit) => [.. Enumerable.Range(0, 64).Where(bit => (word >> bit & 1) != 0).Select(nameOfBit)];
}
