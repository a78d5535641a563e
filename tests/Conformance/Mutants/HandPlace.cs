namespace Vhost.Conformance.Tests.Mutants;

/// <summary>A position in a packed ring and its wrap counter.</summary>
internal readonly record struct HandPlace(uint Index, bool Turn)
{
    public const ushort Available = 1 << 7;
    public const ushort Used = 1 << 15;
    private const ushort Wrap = 1 << 15;

    public ushort Word => (ushort)(Index | (Turn ? Wrap : 0u));

    public static HandPlace Of(ushort word, uint size) => new((word & 0x7fffu) % size, (word & Wrap) != 0);

    /// <summary>Whether flags there say that the driver's descriptor is to be taken.</summary>
    public bool IsAvailable(ushort flags) => (flags & Available) != 0 == Turn && (flags & Used) != 0 != Turn;

    public HandPlace Ahead(int count, uint size, bool keepsTurn = false)
    {
        uint index = Index + (uint)count;
        return index < size ? this with { Index = index } : new HandPlace(index - size, keepsTurn ? Turn : !Turn);
    }
}
