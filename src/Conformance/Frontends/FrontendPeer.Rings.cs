using System.Diagnostics;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <content>Memory and rings of the front-end, and the requests in them.</content>
internal sealed partial class FrontendPeer
{
    // Mappings stay until the case has ended.
    private const int MostTables = 1000;

    private static readonly byte[] _zeroes = new byte[64 << 10];

    // Those who wait for a case look at the clock between two looks.
    private static readonly TimeSpan _longestLook = TimeSpan.FromMilliseconds(50);

    /// <summary>Which ring is served next: none waits for another one for ever.</summary>
    private uint _turn;

    /// <summary>How often the memory was said.</summary>
    private int _tables;

    /// <summary>Tells the driver that something was used.</summary>
    public void Call(uint ring)
    {
        lock (_gate)
            DescriptionOf(ring).Call?.Signal();
    }

    /// <summary>Whether a ring has been kicked since this was asked last.</summary>
    public bool TakeKick(uint ring)
    {
        lock (_gate)
            return DescriptionOf(ring).Kick?.TryConsume() == true;
    }

    /// <summary>Whether a ring is to be looked at without kicks.</summary>
    public bool IsPolled(uint ring)
    {
        lock (_gate)
            return DescriptionOf(ring).Kick is null;
    }

    /// <summary>Does something with a ring that runs, while it cannot be stopped. False: none runs, or the act had nothing to do.</summary>
    public bool WithRing(Func<DeviceRing, bool> act)
    {
        lock (_gate)
            return _rings.Values.OrderBy(static ring => ring.Index).Any(act);
    }

    /// <summary>Serves what waits in the rings, as the device that is played would, for a time: a driver that fills its ring as fast as this empties it, or asks for much, goes on at the next look.</summary>
    private void ServeRings()
    {
        if (!Script.ServesRings)
            return;
        lock (_gate) // a ring that is stopped is not served while it goes
        {
            long begun = Stopwatch.GetTimestamp();
            IReadOnlyList<DeviceRing> rings = Rings;
            for (int i = 0; i < rings.Count && Stopwatch.GetElapsedTime(begun) < _longestLook; i++)
                ServeRing(rings[(int)(_turn++ % (uint)rings.Count)], begun);
        }
    }

    private void ServeRing(DeviceRing ring, long begun)
    {
        if (Device == "net" && ring.Index % 2 == 0)
            return; // receive buffers wait for packets, of which there are none
        while (Stopwatch.GetElapsedTime(begun) < _longestLook && ring.TryTake() is { } chain)
        {
            ring.Use(chain, Serve(ring, chain));
            Served++;
            Call(ring.Index);
        }
    }

    private uint Serve(DeviceRing ring, DeviceChain chain)
    {
        if (Device == "net")
            return 0;
        if (Device == "blk")
            Request(chain);
        return Clear(ring, chain); // a disk of zeroes, and a status byte that says so
    }

    /// <summary>Clears what a device may write, as far as one writes so much. How much that is.</summary>
    private static uint Clear(DeviceRing ring, DeviceChain chain)
    {
        uint most = Math.Min(chain.Writable, BackendScript.MostWritten), left = most;
        foreach (ChainBuffer buffer in chain.Buffers.Where(static buffer => buffer.IsWritable))
        {
            uint length = Math.Min(buffer.Length, left);
            Clear(ring, buffer.Address, length);
            left -= length;
        }

        return most;
    }

    private static void Clear(DeviceRing ring, ulong address, uint length)
    {
        for (uint at = 0; at < length; at += (uint)_zeroes.Length)
            ring.WriteBytes(address + at, _zeroes.AsSpan(0, (int)Math.Min(length - at, (uint)_zeroes.Length)));
    }

    private static void Request(DeviceChain chain)
    {
        long readable = chain.Buffers.Where(static buffer => !buffer.IsWritable).Sum(static buffer => buffer.Length);
        Expect.That(readable >= VirtioBlkRequestHeader.Size, $"a request with a header of {VirtioBlkRequestHeader.Size} bytes", $"{readable} bytes");
        Expect.That(chain.Writable > 0, "a request with a status byte", "none");
        Expect.That(chain.Writable <= BackendScript.MostWritten, "a request for no more than the disk has", $"one for {chain.Writable} bytes");
    }

    private void TakeMemory(ReceivedMessage message)
    {
        lock (_gate)
        {
            Expect.That(++_tables <= MostTables, $"at most {MostTables} changes of the shared memory in one case", "more");
            VhostUserMemoryRegion[] named = RegionsIn(message);
            if (message.Header.Request == (uint)VhostUserRequest.SetMemTable)
                _regions.Clear();
            if (message.Header.Request == (uint)VhostUserRequest.RemMemReg)
                _regions.RemoveAll(region => named.Any(gone => gone.GuestAddress == region.GuestAddress));
            else
                _regions.AddRange(named.Select((region, i) => Map(region, i < message.Descriptors.Count ? message.Descriptors[i] : null)));
            _memory = _regions.Count == 0 ? null : Own(new LentMemory(GuestMemory.Create([.. _regions]), _kernel, _touched));
        }
    }

    private static VhostUserMemoryRegion[] RegionsIn(ReceivedMessage message)
    {
        if (message.Header.Request != (uint)VhostUserRequest.SetMemTable)
            return VhostUserSingleRegion.TryRead(message.Payload, out VhostUserSingleRegion single) ? [single.Region] : [];
        if (!VhostUserMemoryTable.TryRead(message.Payload, out VhostUserMemoryTable table))
            throw Expect.Failed("a memory table", $"{message.Payload.Length} bytes that are none");
        VhostUserMemoryRegion[] regions = new VhostUserMemoryRegion[table.Count];
        for (int i = 0; i < regions.Length; i++)
            regions[i] = table[i];
        return regions;
    }

    private GuestMemoryRegion Map(VhostUserMemoryRegion region, SafeFileHandle? file)
    {
        if (file is null)
            throw Expect.Failed("a descriptor with each region", "none");
        return new(region.GuestAddress, Own(Map(file, region.MmapOffset, region.Size)), region.UserAddress);
    }

    /// <summary>What cannot be mapped for what it is, its size or its place, is no lack of this process.</summary>
    private static SharedMemory Map(SafeFileHandle file, ulong offset, ulong size)
    {
        try
        {
            return SharedMemory.Map(file, offset, size);
        }
        catch (LinuxException failure) when (failure.Errno is not (Libc.EMFILE or Libc.ENFILE))
        {
            throw Unusable(failure);
        }
    }

    private void TakeRing(ReceivedMessage message)
    {
        lock (_gate)
        {
            (uint index, RingDescription description) = Changed(message);
            RingDescription before = DescriptionOf(index);
            _descriptions[index] = description;
            before.ReplaceWith(description);
            bool runs = description.Runs(State) && _memory is not null;
            if (runs && !_rings.ContainsKey(index))
                _rings[index] = DeviceRing.Of(index, description, _memory!, State, Script.ServesRings);
            else if (!runs)
                _rings.Remove(index);
        }
    }

    private (uint Index, RingDescription Description) Changed(ReceivedMessage message)
    {
        if (message.Header.Request == (uint)VhostUserRequest.SetVringAddr)
        {
            return VhostUserVringAddress.TryRead(message.Payload, out VhostUserVringAddress address)
                ? (address.Index, DescriptionOf(address.Index) with { Address = address })
                : throw Expect.Failed("SET_VRING_ADDR of 40 bytes", $"{message.Payload.Length} bytes");
        }

        VhostUserVringState state = message.VringState;
        uint ring = state.Index & 0xff;
        return (VhostUserRequest)message.Header.Request switch
        {
            VhostUserRequest.SetVringNum => (state.Index, DescriptionOf(state.Index) with { Size = state.Num }),
            VhostUserRequest.SetVringBase => (state.Index, DescriptionOf(state.Index) with { Base = state.Num }),
            VhostUserRequest.SetVringEnable => (state.Index, DescriptionOf(state.Index) with { IsEnabled = state.Num == 1 }),
            VhostUserRequest.SetVringKick => (ring, DescriptionOf(ring) with { HasKick = true, Kick = NotifierOf(message) }),
            _ => (ring, DescriptionOf(ring) with { Call = NotifierOf(message) }),
        };
    }

    private static EventNotifier? NotifierOf(ReceivedMessage message) => message.Descriptors.Count == 1 ? EventNotifier.Duplicate(message.Descriptors[0]) : null;

    private void Forget()
    {
        lock (_gate)
        {
            _rings.Clear();
            foreach (RingDescription description in _descriptions.Values)
                description.ReplaceWith(RingDescription.None);
            _descriptions.Clear();
        }
    }
}
