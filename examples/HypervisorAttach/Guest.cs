using Vhost.Protocol;

namespace HypervisorAttach;

/// <summary>The guest: RAM, a ring, and a driver that writes a pattern to the disk and reads it back.</summary>
internal static class Guest
{
    private const ulong RamSize = 8 << 20;
    private const ulong RingAt = 0x10000;
    private const ulong DataAt = 0x100000;
    private const int Step = 64 << 10;
    private const int Verified = 4 << 20;

    public static async Task<int> RunAsync(string socket)
    {
        using SharedMemory memory = SharedMemory.CreateSealed("guest-ram", RamSize);
        using GuestMemory ram = GuestMemory.Create(new GuestMemoryRegion(new GuestAddress(0), memory));
        using EventNotifier kick = new();
        using EventNotifier call = new();
        using HandWrittenRing ring = new(ram, RingAt, kick, call);

        await using VhostUserConnection line = await VhostUserConnection.ConnectAsync(socket);
        GuestResources resources = new(
            memory.Descriptor, kick.Descriptor, call.Descriptor, RamSize, HandWrittenRing.Size, ring.DescriptorTable, ring.AvailableRing, ring.UsedRing);
        await resources.SendAsync(line);
        await GuestMessages.ExpectAsync(line, GuestMessages.Attached);

        bool same = WriteAndReadBack(ram, ring);
        Console.WriteLine($"guest: {Verified} bytes written and read back: {(same ? "the same" : "DIFFERENT")}");

        await GuestMessages.SendAsync(line, GuestMessages.Done);
        await GuestMessages.ExpectAsync(line, GuestMessages.Detached);
        return same ? 0 : 1;
    }

    private static bool WriteAndReadBack(GuestMemory ram, HandWrittenRing ring)
    {
        using GuestMemoryLease access = ram.Acquire();
        byte[] data = new byte[Verified];
        new Random(99).NextBytes(data);
        byte[] read = new byte[Step];
        for (int at = 0; at < Verified; at += Step)
        {
            access.TryCopyFrom(data.AsSpan(at, Step), new GuestAddress(DataAt));
            ring.Run(VirtioBlkRequestType.Out, (ulong)at, DataAt, Step);
        }

        for (int at = 0; at < Verified; at += Step)
        {
            ring.Run(VirtioBlkRequestType.In, (ulong)at, DataAt, Step);
            access.TryCopyTo(new GuestAddress(DataAt), read);
            if (!read.AsSpan().SequenceEqual(data.AsSpan(at, Step)))
                return false;
        }

        return true;
    }
}
