using System.Runtime.CompilerServices;

namespace Vhost.Tool;

/// <summary>Where the next request goes: pseudo-random, or on and on from a start.</summary>
internal struct OffsetSequence
{
    private readonly ulong _blocks;
    private readonly ulong _blockSize;
    private readonly bool _random;
    private ulong _state;

    internal OffsetSequence(BenchSettings settings, ulong capacity, int index, int count)
    {
        _blockSize = (ulong)settings.BlockSize;
        _blocks = capacity / _blockSize;
        _random = settings.IsRandom;
        _state = _random ? SeededPattern.Word(42, (ulong)index << 3) | 1 : _blocks / (ulong)count * (ulong)index;
    }

    [MethodImpl(MethodImplOptions.AggressiveInlining)]
    internal ulong Next()
    {
        if (_random)
        {
            _state ^= _state << 13;
            _state ^= _state >> 7;
            _state ^= _state << 17;
            return Math.BigMul(_state, _blocks, out _) * _blockSize;
        }

        ulong block = _state;
        _state = block + 1 == _blocks ? 0 : block + 1;
        return block * _blockSize;
    }
}
