using Vhost.Protocol;

namespace Vhost.Conformance.Tests;

// Memory: rings in one region, buffers in another, or behind the rings where the back-end has one slot only.
internal sealed partial class HandFrontendSession
{
    private const ulong RegionSize = 0x1_0000;
    private const ulong BufferRegion = 0x10_0000;
    private const ulong UserOffset = 0x7000_0000_0000;

    private readonly List<IDisposable> _owned = [];
    private int _slots = 8;
    private GuestMemory? _memory;
    private GuestMemoryLease _lease;
    private ulong _buffers;

    private bool HasOneRegion => _slots == 1;

    private async Task ShareMemoryAsync()
    {
        SharedMemory rings = Own(SharedMemory.CreateSealed("hand-rings", RegionSize)), buffers = Own(SharedMemory.CreateSealed("hand-buffers", RegionSize));
        _memory = GuestMemory.Create([new(new(0), rings, new(UserOffset)), .. HasOneRegion ? [] : new GuestMemoryRegion[] { new(new(BufferRegion), buffers, new(BufferRegion + UserOffset)) }]);
        _lease = _memory.Acquire();
        _buffers = HasOneRegion ? RegionSize / 2 : BufferRegion;
        VhostUserMemoryRegion first = new(new(0), RegionSize, new(UserOffset), 0), second = Second();
        if (HasOneRegion)
        {
            await SetTableAsync([first], rings);
        }
        else if (!Has(VhostUserProtocolFeatures.ConfigureMemSlots))
        {
            await SetTableAsync([first, second], rings, buffers);
        }
        else
        {
            await SetTableAsync([first], rings);
            await TellAsync(VhostUserRequest.AddMemReg, Payload(new VhostUserSingleRegion(second)), buffers.Descriptor);
        }

        if (_sin == FrontendSin.RemovesStrangeRegion) await TellAsync(VhostUserRequest.RemMemReg, Payload(new VhostUserSingleRegion(second with { GuestAddress = new(0x20_0000) })));
    }

    private VhostUserMemoryRegion Second()
    {
        VhostUserMemoryRegion second = new(new(BufferRegion), RegionSize, new(BufferRegion + UserOffset), 0);
        return _sin switch
        {
            FrontendSin.RegionsOverlap => second with { GuestAddress = new(RegionSize / 2) },
            FrontendSin.UserAddressesOverlap => second with { UserAddress = new(UserOffset + (RegionSize / 2)) },
            FrontendSin.RegionBeyondFile => second with { MmapOffset = RegionSize / 2 },
            FrontendSin.RegionWraps => second with { MmapOffset = ulong.MaxValue - 0xfff },
            FrontendSin.EmptyRegion => second with { Size = 0 },
            _ => second,
        };
    }

    private Task SetTableAsync(VhostUserMemoryRegion[] regions, params SharedMemory[] files)
    {
        byte[] payload = new byte[VhostUserMemoryTable.EncodedSizeOf(regions.Length)];
        VhostUserMemoryTable.Write(regions, payload);
        return TellAsync(VhostUserRequest.SetMemTable, payload, _sin == FrontendSin.TableWithoutDescriptor ? [] : [.. files.Select(static file => file.Descriptor)]);
    }

    /// <summary>An area in which the back-end notes what is in flight: fetched, looked at, and given back.</summary>
    private async Task ShareInflightAsync()
    {
        byte[] question = Payload(new VhostUserInflight(0, 0, 1, (ushort)RingSize));
        await SendAsync(VhostUserRequest.GetInflightFd, question, wantsReply: false, []);
        using VhostUserMessage reply = await NextAsync(VhostUserRequest.GetInflightFd);
        CheckForm(VhostUserRequest.GetInflightFd, reply);
        if (_sin == FrontendSin.DiesOfMissingArea && reply.DescriptorCount == 0) throw new HandCrashException();
        Require(reply.DescriptorCount == 1 && VhostUserInflight.TryRead(reply.Payload, out VhostUserInflight area), "an in-flight area");
        _ = VhostUserInflight.TryRead(reply.Payload, out area);
        if (_sin == FrontendSin.DiesOfEmptyArea && area.MmapSize == 0) throw new HandCrashException();
        Require(area.MmapSize > 0, "an in-flight area that is not empty");
        SharedMemory mapped;
        try
        {
            mapped = Own(SharedMemory.Map(reply.TakeDescriptor(0), area.MmapOffset, area.MmapSize));
        }
        catch (Exception e) when (e is VhostUserException or LinuxException or ArgumentException)
        {
            if (_sin is FrontendSin.DiesOfAreaBeyondFile) throw new HandCrashException();
            throw new HandLeavesException("this front-end needs an in-flight area in its file");
        }

        await TellAsync(VhostUserRequest.SetInflightFd, Payload(area), mapped.Descriptor);
    }

    private T Own<T>(T owned)
        where T : IDisposable
    {
        _owned.Add(owned);
        return owned;
    }

    private void DropMemory()
    {
        if (_memory is not null)
        {
            _lease.Dispose();
            _memory.Dispose();
        }

        foreach (IDisposable owned in _owned) owned.Dispose();
    }

    private static byte[] Payload<T>(T value)
        where T : struct, IVhostUserPayload<T>
    {
        byte[] payload = new byte[value.EncodedSize];
        value.Write(payload);
        return payload;
    }
}
