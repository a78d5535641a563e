using System.Numerics;
using System.Runtime.InteropServices;

namespace Vhost.Backend;

/// <summary>
/// Which address was last seen as a source at which port. All memory is taken at once. Each port has room for so many addresses, and one more takes the place of the
/// one that this very port was silent about longest: a guest that makes addresses up loses its own.
/// </summary>
/// <remarks>Threading: under the lock of its owner. Times are timestamps of one clock.</remarks>
internal sealed class StationTable
{
    private const int None = -1;

    private readonly Entry[] _entries;
    private readonly int[] _buckets;
    private readonly PortList[] _ports;
    private readonly int _mostPerPort;
    private readonly long _ageing;
    private readonly int _shift;

    /// <summary>Odd and drawn by lot: who does not know it cannot choose addresses that meet in one bucket.</summary>
    private readonly ulong _factor = (ulong)Random.Shared.NextInt64() | 1;
    private int _free;

    /// <summary>Entries from this one on were never in use.</summary>
    private int _untouched;

    /// <summary>Makes an empty table.</summary>
    /// <param name="ports">Ports, numbered from 0.</param>
    /// <param name="mostPerPort">Addresses that each has room for.</param>
    /// <param name="ageing">An address that was not seen for so long is not known any more.</param>
    internal StationTable(int ports, int mostPerPort, long ageing)
    {
        _mostPerPort = mostPerPort;
        _ageing = ageing;
        _entries = new Entry[ports * mostPerPort];
        _ports = new PortList[ports];
        Array.Fill(_ports, new PortList { Oldest = None, Newest = None });
        int bits = Math.Max(1, BitOperations.Log2((uint)_entries.Length) + 1);
        _shift = 64 - bits;
        _buckets = new int[1 << bits];
        Array.Fill(_buckets, None);
        for (int i = 0; i < _entries.Length; i++)
            _entries[i].Next = i + 1 < _entries.Length ? i + 1 : None;
    }

    /// <summary>Addresses in the table, those among them that are too old and were not looked at since.</summary>
    internal int Count { get; private set; }

    internal long Learned { get; private set; }

    internal long Moved { get; private set; }

    internal long Replaced { get; private set; }

    internal long Expired { get; private set; }

    /// <summary>The port of an address; a negative number when it is not known.</summary>
    internal int Find(ulong address, long now)
    {
        int index = IndexOf(address);
        if (index == None)
            return None;
        if (!IsOld(index, now))
            return _entries[index].Port;
        Remove(index);
        Expired++;
        return None;
    }

    /// <summary>An address was seen as a source at a port.</summary>
    internal void Learn(ulong address, int port, long now)
    {
        int index = IndexOf(address);
        if (index != None && IsOld(index, now))
        {
            Remove(index);
            Expired++;
            index = None;
        }

        if (index != None && _entries[index].Port == port)
        {
            _entries[index].Seen = now;
            Unlink(index);
            LinkNewest(index, port);
            return;
        }

        if (index == None)
        {
            Learned++;
        }
        else
        {
            Moved++;
            Remove(index);
        }

        Add(address, port, now);
    }

    /// <summary>Nobody is at this port any more.</summary>
    internal void Forget(int port)
    {
        while (_ports[port].Oldest != None)
            Remove(_ports[port].Oldest);
    }

    /// <summary>
    /// Copies a piece of the table, from one place to the next, and takes out what is too old there. The owner may let others in between two pieces: an address that moves to another
    /// port meanwhile may come twice, the second time as it is, or not at all.
    /// </summary>
    /// <param name="place">Where the piece begins, 0 at first; behind the piece then.</param>
    /// <param name="now">The time.</param>
    /// <param name="piece">Filled from the start; so many entries are looked at.</param>
    /// <param name="count">How many are in it.</param>
    /// <returns>False when nothing is behind the piece.</returns>
    internal bool Copy(ref int place, long now, Span<KnownStation> piece, out int count)
    {
        count = 0;
        int end = Math.Min(place + piece.Length, _untouched);
        for (; place < end; place++)
        {
            ref readonly Entry entry = ref _entries[place];
            if (entry.Port == None)
                continue;
            if (!IsOld(place, now))
            {
                piece[count++] = new KnownStation(entry.Address, entry.Port, entry.Seen);
                continue;
            }

            Remove(place);
            Expired++;
        }

        return place < _untouched;
    }

    private void Add(ulong address, int port, long now)
    {
        if (_ports[port].Count == _mostPerPort)
        {
            if (IsOld(_ports[port].Oldest, now))
                Expired++;
            else
                Replaced++;
            Remove(_ports[port].Oldest);
        }

        int index = _free;
        ref Entry entry = ref _entries[index];
        _free = entry.Next;
        _untouched = Math.Max(_untouched, index + 1);
        ref int bucket = ref BucketOf(address);
        entry = new Entry { Address = address, Seen = now, Port = port, Next = bucket };
        bucket = index;
        LinkNewest(index, port);
        Count++;
    }

    private void Remove(int index)
    {
        Unlink(index);
        ref int place = ref BucketOf(_entries[index].Address);
        while (place != index)
            place = ref _entries[place].Next;
        place = _entries[index].Next;
        _entries[index].Next = _free;
        _entries[index].Port = None;
        _free = index;
        Count--;
    }

    private int IndexOf(ulong address)
    {
        int index = BucketOf(address);
        while (index != None && _entries[index].Address != address)
            index = _entries[index].Next;
        return index;
    }

    private bool IsOld(int index, long now) => now - _entries[index].Seen >= _ageing;

    private ref int BucketOf(ulong address) => ref _buckets[(address * _factor) >> _shift];

    private void LinkNewest(int index, int port)
    {
        ref PortList list = ref _ports[port];
        _entries[index].Older = list.Newest;
        _entries[index].Newer = None;
        if (list.Newest == None)
            list.Oldest = index;
        else
            _entries[list.Newest].Newer = index;
        list.Newest = index;
        list.Count++;
    }

    private void Unlink(int index)
    {
        ref Entry entry = ref _entries[index];
        ref PortList list = ref _ports[entry.Port];
        if (entry.Older == None)
            list.Oldest = entry.Newer;
        else
            _entries[entry.Older].Newer = entry.Newer;
        if (entry.Newer == None)
            list.Newest = entry.Older;
        else
            _entries[entry.Newer].Older = entry.Older;
        list.Count--;
    }

    private struct Entry
    {
        internal ulong Address;
        internal long Seen;

        /// <summary>Or <see cref="None"/> when it is free.</summary>
        internal int Port;

        /// <summary>The next of the bucket, or of those that are free.</summary>
        internal int Next;
        internal int Older;
        internal int Newer;
    }

    private struct PortList
    {
        internal int Oldest;
        internal int Newest;
        internal int Count;
    }
}

/// <summary>A copy of an entry of a <see cref="StationTable"/>.</summary>
/// <param name="Address">Whose.</param>
/// <param name="Port">Where it was seen last.</param>
/// <param name="Seen">When.</param>
[StructLayout(LayoutKind.Auto)]
internal readonly record struct KnownStation(ulong Address, int Port, long Seen);
