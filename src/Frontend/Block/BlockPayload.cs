using System.Runtime.InteropServices;

namespace Vhost.Frontend;

/// <summary>The caller's data of a transfer: one piece of memory or a list, to be read from or written to.</summary>
internal readonly struct BlockPayload
{
    private readonly Memory<byte> _single;
    private readonly IReadOnlyList<Memory<byte>>? _targets;
    private readonly IReadOnlyList<ReadOnlyMemory<byte>>? _sources;

    internal BlockPayload(Memory<byte> target) => _single = target;

    /// <summary>The memory is only read; the type of the field serves both directions.</summary>
    internal BlockPayload(ReadOnlyMemory<byte> source) => _single = MemoryMarshal.AsMemory(source);

    internal BlockPayload(IReadOnlyList<Memory<byte>> targets) => _targets = targets;

    internal BlockPayload(IReadOnlyList<ReadOnlyMemory<byte>> sources) => _sources = sources;

    internal ulong Length
    {
        get
        {
            ulong sum = (ulong)_single.Length;
            for (int i = 0; i < (_targets?.Count ?? 0); i++)
                sum += (ulong)_targets![i].Length;
            for (int i = 0; i < (_sources?.Count ?? 0); i++)
                sum += (ulong)_sources![i].Length;
            return sum;
        }
    }

    /// <summary>Copies a part of the payload into a slot's buffer.</summary>
    internal void CopyTo(BlockQueue queue, int slot, ulong start, uint length)
    {
        if (_sources is null)
        {
            queue.WriteBuffer(slot, _single.Span.Slice((int)start, (int)length));
            return;
        }

        uint done = 0;
        for (int i = 0; done < length; i++)
        {
            ReadOnlySpan<byte> part = Part(_sources[i].Span, ref start, length - done);
            queue.WriteBuffer(slot, part, (int)done);
            done += (uint)part.Length;
        }
    }

    /// <summary>Copies a slot's buffer to its place in the payload.</summary>
    internal void CopyFrom(BlockQueue queue, int slot, ulong start, uint length)
    {
        if (_targets is null)
        {
            queue.ReadBuffer(slot, _single.Span.Slice((int)start, (int)length));
            return;
        }

        uint done = 0;
        for (int i = 0; done < length; i++)
        {
            Span<byte> part = Part(_targets[i].Span, ref start, length - done);
            queue.ReadBuffer(slot, part, (int)done);
            done += (uint)part.Length;
        }
    }

    /// <summary>What of a list's element lies behind <paramref name="skip"/>, which goes down by what was passed over.</summary>
    private static Span<byte> Part(Span<byte> element, ref ulong skip, uint most)
    {
        int start = (int)Math.Min(skip, (ulong)element.Length);
        skip -= (ulong)start;
        return element.Slice(start, (int)Math.Min((uint)(element.Length - start), most));
    }

    private static ReadOnlySpan<byte> Part(ReadOnlySpan<byte> element, ref ulong skip, uint most)
    {
        int start = (int)Math.Min(skip, (ulong)element.Length);
        skip -= (ulong)start;
        return element.Slice(start, (int)Math.Min((uint)(element.Length - start), most));
    }
}
