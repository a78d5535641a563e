using System.Globalization;

namespace Vhost.Protocol;

/// <summary>The sizes a payload may have: from <see cref="Min"/> to <see cref="Max"/> bytes in steps of <see cref="Step"/>.</summary>
/// <param name="Min">The smallest size in bytes.</param>
/// <param name="Max">The largest size in bytes.</param>
/// <param name="Step">Distance between allowed sizes in bytes, at least 1.</param>
public readonly record struct PayloadRange(int Min, int Max, int Step = 1)
{
    /// <summary>Exactly one size.</summary>
    public static PayloadRange Exactly(int size) => new(size, size);

    /// <summary>One size or another.</summary>
    public static PayloadRange Either(int first, int second) => new(first, second, second - first);

    /// <summary>Tells whether a payload may have this size; the size is judged at full width.</summary>
    public bool Contains(uint size) => size >= (uint)Min && size <= (uint)Max && (size - (uint)Min) % (uint)Step == 0;

    /// <summary>The sizes in words: <c>8</c>, <c>8 or 16</c>, <c>12 to 268</c>, <c>8 to 264 in steps of 32</c>.</summary>
    public override string ToString()
    {
        if (Min == Max)
            return Min.ToString(CultureInfo.InvariantCulture);
        if (Max - Min == Step)
            return string.Create(CultureInfo.InvariantCulture, $"{Min} or {Max}");
        return Step == 1
            ? string.Create(CultureInfo.InvariantCulture, $"{Min} to {Max}")
            : string.Create(CultureInfo.InvariantCulture, $"{Min} to {Max} in steps of {Step}");
    }
}
