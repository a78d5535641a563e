namespace Vhost.Conformance;

/// <summary>One request that an honest driver makes of a device, and what it expects back.</summary>
/// <param name="Chain">Its buffers.</param>
/// <param name="Check">Fails the case unless the device did what was asked of it.</param>
internal sealed record Work(ChainBuffer[] Chain, Action<UsedBuffer> Check)
{
    /// <summary>How many bytes a device writes that does what was asked; null: it may choose.</summary>
    public uint? Written { get; init; }

    /// <summary>How many bytes the device may write.</summary>
    public uint Writable => (uint)Chain.Where(static buffer => buffer.IsWritable).Sum(static buffer => buffer.Length);

    /// <summary>Fails the case unless the device did what was asked, and claims no byte that it could not write.</summary>
    public void Done(UsedBuffer used)
    {
        Expect.That(used.Length <= Writable, $"a used length of at most {Writable} bytes, which is what the chain has for the device to write", $"{used.Length}");
        Check(used);
    }
}
