using Vhost.Frontend;

namespace Vhost.Tool;

/// <summary>Numbered packets that are built where the device reads them. The pattern is written into each place once, the start of each packet every time.</summary>
internal sealed class NumberedPlaces(NetSender sender)
{
    /// <summary>Bytes of the start in the array below: what is written at once is then copied in one piece.</summary>
    private const int Stride = 32;

    private readonly bool[] _hasPattern = new bool[sender.PlaceCount];
    private byte[] _pattern = [];
    private byte[] _starts = [];

    internal int Send(ulong number, int count, int size)
    {
        using OutgoingBurst burst = sender.BeginBurst(count);
        if (burst.Count == 0)
            return 0;
        Prepare(count, size);

        // All numbers first: read back at once by the copy, each would wait for its own store.
        for (int i = 0; i < burst.Count; i++)
            NumberedPacket.Number(_starts.AsSpan(i * Stride, Stride), number + (uint)i);
        for (int i = 0; i < burst.Count; i++)
        {
            if (!_hasPattern[burst.PlaceOf(i)])
            {
                burst.Write(i, 0, _pattern);
                _hasPattern[burst.PlaceOf(i)] = true;
            }

            burst.Write(i, 0, _starts.AsSpan(i * Stride, NumberedPacket.Shortest));
            burst.SetLength(i, size);
        }

        burst.Send(burst.Count);
        return burst.Count;
    }

    private void Prepare(int count, int size)
    {
        if (_pattern.Length == size)
            return;
        _pattern = new byte[size];
        NumberedPacket.Prepare(_pattern);
        _starts = new byte[count * Stride];
        for (int i = 0; i < count; i++)
            _pattern.AsSpan(0, NumberedPacket.Shortest).CopyTo(_starts.AsSpan(i * Stride));
    }
}
