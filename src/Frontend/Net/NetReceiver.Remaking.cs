using System.Collections;

namespace Vhost.Frontend;

/// <summary>A receive ring for the next back-end.</summary>
public sealed partial class NetReceiver
{
    /// <summary>
    /// Packets that had come stay, and so do those that are lent: they keep their buffers until they are collected or released, which works as ever. All other buffers are the device's again.
    /// </summary>
    private protected override int Remake()
    {
        while (Refill(int.MaxValue))
        {
            // Until there is no more.
        }

        int lost = CutUnfinished();
        Counters.Lost += lost;
        Ring.Reset();
        Ring.DisarmCall();
        (_count, _isSubmitted) = (0, false);
        BitArray kept = ListKept();
        for (uint slot = 0; slot < (uint)_places.Length; slot++)
        {
            if (!kept[(int)slot])
                Repost(slot);
        }

        Finish();
        return lost;
    }

    /// <summary>A packet of several buffers of which some will never come must not go on with those of the next back-end; nor must one whose number contradicts itself.</summary>
    /// <returns>How many packets are lost.</returns>
    private int CutUnfinished()
    {
        if (!Shape.Mergeable)
            return 0;
        for (int at = _next; at < _end;)
        {
            _slots.ReadHeader((uint)_done[at].Token, out uint rest);
            int buffers = (int)(rest >> 16);
            if (buffers == 0 || buffers > _end - at)
            {
                _end = at;
                return 1;
            }

            at += buffers;
        }

        return 0;
    }

    /// <summary>Buffers that have packets: such as were not collected, and such as are lent.</summary>
    private BitArray ListKept()
    {
        BitArray kept = new(_places.Length);
        for (int i = _next; i < _end; i++)
            kept[(int)_done[i].Token] = true;
        HashSet<LentPlaces> free = [];
        for (LentPlaces? places = (LentPlaces?)_free; places is not null; places = (LentPlaces?)places.Below)
            free.Add(places);
        foreach (LentPlaces places in _lenders.Where(one => !free.Contains(one)))
        {
            foreach (uint slot in places.Slots)
                kept[(int)slot] = true;
        }

        return kept;
    }
}
