using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests;

/// <summary>A guest at a port whose two rings a test writes word by word.</summary>
internal sealed class RawGuest : IAsyncDisposable
{
    private const int Entries = 16;
    private const int HeaderLength = 12;
    private const ulong BufferAt = 0x8000;

    private readonly GuestMemory _memory = GuestRam.Create(1 << 20);
    private readonly EventNotifier[] _notifiers = [new(), new(), new(), new()];
    private readonly VhostUserFrontend _frontend;

    private RawGuest(VhostUserFrontend frontend)
    {
        _frontend = frontend;
        ToGuest = new RawSplitRing(_memory, 0, Entries);
        FromGuest = new RawSplitRing(_memory, 0x4000, Entries);
    }

    public RawSplitRing ToGuest { get; }

    public RawSplitRing FromGuest { get; }

    public static async Task<RawGuest> StartAsync(VhostUserConnection connection)
    {
        VhostUserFrontendOptions options = new()
        {
            WantedFeatures = VirtioFeatures.Version1,
            Queues = 2,
            QueuesWithoutMultiQueue = 2,
            QueueNumberCountsPairs = true,
        };
        RawGuest guest = new(await VhostUserFrontend.StartAsync(connection, options).InTime());
        await guest._frontend.SetFeaturesAsync(VirtioFeatures.Version1).InTime();
        await guest._frontend.SetMemoryAsync(guest._memory).InTime();
        await guest._frontend.StartVringsAsync([Settings(guest.ToGuest, 0, guest._notifiers), Settings(guest.FromGuest, 1, guest._notifiers.AsSpan(2))]).InTime();
        return guest;
    }

    /// <summary>Offers a frame behind an empty header.</summary>
    public void Send(byte[] frame)
    {
        int slot = FromGuest.AvailableIndex % Entries;
        ulong at = BufferAt + (2048UL * (ulong)slot);
        for (int i = 0; i < frame.Length; i++)
            FromGuest.Put(at + HeaderLength + (ulong)i, frame[i]);
        FromGuest.Descriptor(slot, at, (uint)(HeaderLength + frame.Length));
        FromGuest.Offer((ushort)slot);
    }

    /// <summary>Kicks both queues.</summary>
    public void Kick()
    {
        _notifiers[0].Signal();
        _notifiers[2].Signal();
    }

    /// <summary>The process is gone in the middle of whatever it did.</summary>
    public async ValueTask DisposeAsync()
    {
        await _frontend.DisposeAsync();
        ToGuest.Dispose();
        FromGuest.Dispose();
        _memory.Dispose();
        foreach (EventNotifier notifier in _notifiers)
            notifier.Dispose();
    }

    private static VringSettings Settings(RawSplitRing ring, int index, ReadOnlySpan<EventNotifier> notifiers) => new()
    {
        Index = index,
        Size = Entries,
        DescriptorTable = ring.DescriptorTable,
        AvailableRing = ring.AvailableRing,
        UsedRing = ring.UsedRing,
        Kick = notifiers[0],
        Call = notifiers[1],
    };
}
