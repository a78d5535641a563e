using Vhost.Protocol;

namespace Vhost.Backend;

// What others see of a packed ring that its worker moves on meanwhile.
internal sealed partial class PackedDeviceRing
{
    /// <summary>
    /// Where the ring goes on and where its next used descriptor goes, as SET_VRING_BASE has them. Any thread. A position is two words, read until they were the same twice; one that is caught in the middle of
    /// passing the end all the same is a place of the ring, with the wrap counter of before.
    /// </summary>
    internal uint ShownPosition
    {
        get
        {
            const int MostTries = 100;
            uint before = Shown(_nextAvailable.Index, _nextAvailable.Wrap) | ((uint)Shown(_published.Index, _published.Wrap) << 16);
            for (int i = 0; i < MostTries; i++)
            {
                Interlocked.MemoryBarrier();
                uint now = Shown(_nextAvailable.Index, _nextAvailable.Wrap) | ((uint)Shown(_published.Index, _published.Wrap) << 16);
                if (now == before)
                    break;
                before = now;
            }

            return before;
        }
    }

    /// <summary>Chains that the driver has offered from a place on: one turn of the ring at most. Any thread.</summary>
    internal static int CountAvailable(in PackedRing ring, PackedPosition at, int most)
    {
        int chains = 0;
        for (uint left = ring.Size; left > 0 && chains < most; left--)
        {
            ushort flags = ring.ReadFlags(at.Index);
            if (!at.IsAvailable(flags))
                break;
            chains += (flags & (ushort)DescriptorFlags.Next) == 0 ? 1 : 0;
            at.Advance(1);
        }

        return chains;
    }

    /// <summary>Whatever stands there at the moment, the place is inside the ring.</summary>
    private ushort Shown(uint index, bool wrap)
    {
        bool isPast = index >= _ring.Size;
        return (ushort)((index % _ring.Size) | (wrap != isPast ? PackedRingLayout.Wrap : 0u));
    }
}
