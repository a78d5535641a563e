using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>
/// The driver's half of a virtqueue, split or packed, for hosts without a guest: loopback, clients, tests. It owns a ring in guest memory, submits requests
/// and collects completions. Nothing the device writes is trusted: a rule it breaks sets <see cref="Fault"/>, and the queue is empty from then on.
/// </summary>
/// <remarks>
/// <para>Ownership: holds a lease on the memory until disposed.</para>
/// <para>Threading: one thread at a time.</para>
/// </remarks>
public sealed partial class DriverVirtqueue : IDisposable
{
    // Exactly one of the two is there; both have the same members. A branch that always goes the same way costs less than a virtual call.
    private readonly SplitDriverRing? _split;
    private readonly PackedDriverRing? _packed;

    private readonly GuestMemoryLease _lease;
    private readonly DriverRingPlace _place;
    private readonly int _indirectBuffers;
    private DriverFault _fault;
    private bool _disposed;

    private DriverVirtqueue(GuestMemoryLease lease, in DriverRingPlace place, DriverVirtqueueOptions options, VirtioFeatures features)
    {
        _lease = lease;
        _place = place;
        _indirectBuffers = options.IndirectBuffers;
        Size = options.Size;
        Features = features;
        IndirectTables? indirect = _indirectBuffers == 0 ? null : new IndirectTables(lease, place.IndirectTables, options);
        if ((features & VirtioFeatures.RingPacked) != 0)
        {
            _packed = new PackedDriverRing(place.MapPacked(lease.Memory), indirect, features);
        }
        else
        {
            _split = new SplitDriverRing(place.MapSplit(lease.Memory), indirect, features, options.SparesDescriptors);
        }
    }

    /// <summary>Entries in the ring.</summary>
    public int Size { get; }

    /// <summary>The negotiated features that shape the ring.</summary>
    public VirtioFeatures Features { get; }

    /// <summary>What the device did wrong, or <see cref="VirtqueueFault.None"/>. Once set it stays until <see cref="Reset"/>.</summary>
    public VirtqueueFault Fault => _fault.Kind;

    /// <summary>The fault in words; null while there is none.</summary>
    public string? FaultDetail => _fault.Detail;

    internal DriverRingPlace Place => _place;

    /// <summary>Requests submitted and not yet collected.</summary>
    public int InFlight { get; private set; }

    /// <summary>Something was written with <see cref="PacketStream"/> since the last publication.</summary>
    internal bool Streamed { get; set; }

    /// <summary>Descriptors a request could take now.</summary>
    public int FreeDescriptors => _split is not null ? _split.Free : _packed!.Free;

    /// <summary>Where a ring that is stopped with nothing in flight goes on.</summary>
    public VringBase Base => _split is not null ? new VringBase(_split.Base) : new VringBase(_packed!.AvailableBase, _packed.UsedBase);

    /// <summary>Where a ring goes on whose device was lost, as far as the driver has seen its answers; of a split ring the device finds that itself.</summary>
    internal VringBase RestartBase => _split is not null ? Base : new VringBase(_packed!.UsedBase, _packed.UsedBase);

    /// <summary>Lays out a ring in guest memory and clears it.</summary>
    /// <param name="memory">The table that holds the ring; leased until the queue is disposed.</param>
    /// <param name="at">Guest address of the first byte, a multiple of 64; <see cref="SizeInBytes"/> bytes from there are used and must lie in one region.</param>
    /// <param name="options">Size and indirect tables.</param>
    /// <param name="features">The features that were acknowledged: RING_PACKED, INDIRECT_DESC, EVENT_IDX and IN_ORDER matter here.</param>
    /// <exception cref="ArgumentException">The size is out of range, or the ring is misaligned or not inside one region.</exception>
    public static DriverVirtqueue Create(GuestMemory memory, GuestAddress at, DriverVirtqueueOptions options, VirtioFeatures features)
    {
        ArgumentNullException.ThrowIfNull(memory);
        ArgumentNullException.ThrowIfNull(options);
        options.Validate(features);
        DriverRingPlace place = new(at, options, features);
        ulong total = SizeInBytes(options, features);
        if (at.Value % DriverRingPlace.Alignment != 0 || !memory.TryGetAddress(at, total, out _))
        {
            throw new ArgumentException(
                string.Create(CultureInfo.InvariantCulture, $"ring of {total} bytes at guest 0x{at.Value:x}: must be a multiple of {DriverRingPlace.Alignment} and inside one memory region"),
                nameof(at));
        }

        GuestMemoryLease lease = memory.Acquire();
        try
        {
            return new DriverVirtqueue(lease, place, options, features);
        }
        catch
        {
            lease.Dispose();
            throw;
        }
    }

    /// <summary>The guest memory that a ring takes, in bytes.</summary>
    /// <param name="options">Size and indirect tables.</param>
    /// <param name="features">The features that were acknowledged.</param>
    public static ulong SizeInBytes(DriverVirtqueueOptions options, VirtioFeatures features)
    {
        ArgumentNullException.ThrowIfNull(options);
        return new DriverRingPlace(default, options, features).Size + IndirectTables.SizeInBytes(options);
    }

    /// <summary>
    /// What the back-end is told about this ring when it starts: <see cref="VhostUserFrontend.StartVringAsync"/>. A ring that was stopped with nothing in flight
    /// goes on where it was.
    /// </summary>
    /// <param name="index">Which queue of the device.</param>
    /// <param name="kick">Signalled by the caller when <see cref="Publish"/> says so. Borrowed.</param>
    /// <param name="call">Signalled by the device after <see cref="ArmCall"/>; null for a driver that polls. Borrowed.</param>
    /// <param name="error">Signalled by the device when it cannot go on with the ring, or null. Borrowed.</param>
    public VringSettings Describe(int index, EventNotifier kick, EventNotifier? call, EventNotifier? error = null) => new()
    {
        Index = index,
        Size = (ushort)Size,
        DescriptorTable = _place.Descriptors,
        AvailableRing = _place.DriverPart,
        UsedRing = _place.DevicePart,
        Kick = kick,
        Call = call,
        Error = error,
        Base = Base,
    };

    /// <summary>Offers a request to the device. It sees it at the next <see cref="Publish"/>.</summary>
    /// <param name="readable">Buffers the device reads.</param>
    /// <param name="writable">Buffers the device writes.</param>
    /// <param name="token">Comes back with the completion.</param>
    /// <returns>False when the ring has no room at present, or is faulted; nothing was submitted then.</returns>
    /// <exception cref="ArgumentException">No buffer at all, or more than the ring can ever hold.</exception>
    public bool TrySubmit(ReadOnlySpan<GuestBuffer> readable, ReadOnlySpan<GuestBuffer> writable, ulong token)
    {
        int count = readable.Length + writable.Length;
        if (count == 0 || count > Size)
        {
            ThrowBadCount(count);
        }

        bool indirect = count > 1 && count <= _indirectBuffers;
        if (FreeDescriptors < (indirect ? 1 : count) || Fault != VirtqueueFault.None)
        {
            return false;
        }

        DriverRequest request = new(token, Sum(writable));
        if (_split is not null)
        {
            _split.Submit(readable, writable, indirect, request);
        }
        else
        {
            _packed!.Submit(readable, writable, indirect, request);
        }

        InFlight++;
        return true;
    }

    /// <summary>Shows all submitted requests to the device.</summary>
    /// <returns>True when the device asked to be kicked for them.</returns>
    public bool Publish()
    {
        return Show() && IsKickWanted();
    }

    /// <summary>The first half of <see cref="Publish"/>: shows all submitted requests to the device. False when there are none.</summary>
    internal bool Show()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        if (Streamed)
        {
            Streamed = false;
            RingOrdering.StreamedThenStore();
        }

        if (_split is not null ? !_split.HasStaged : !_packed!.HasStaged)
        {
            return false;
        }

        _split?.Show();
        _packed?.Show();
        return true;
    }

    /// <summary>
    /// The second half: whether the device asked to be kicked. It waits until all stores are out, so what can be done in between costs nothing.
    /// </summary>
    internal bool IsKickWanted() => _split is not null ? _split.IsKickWanted() : _packed!.IsKickWanted();

    /// <summary>Collects completed requests.</summary>
    /// <param name="completions">Filled from the start.</param>
    /// <returns>How many; 0 when there are none or the queue is faulted.</returns>
    public int Drain(Span<DriverCompletion> completions)
    {
        int count = _split is not null
            ? _split.Drain(completions, InFlight, ref _fault)
            : _packed!.Drain(completions, ref _fault);
        InFlight -= count;
        return count;
    }

    /// <summary>Asks the device for a call on the next completion. False when one came in meanwhile: drain again instead of waiting.</summary>
    public bool ArmCall()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        return _split is not null ? _split.Arm() : _packed!.Arm();
    }

    /// <summary>Tells the device not to call, for a driver that polls.</summary>
    public void DisarmCall()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _split?.Disarm();
        _packed?.Disarm();
    }

    /// <summary>Starts over with an empty, fresh ring. What was in flight is forgotten; the device must be stopped.</summary>
    public void Reset()
    {
        ObjectDisposedException.ThrowIf(_disposed, this);
        _split?.Reset();
        _packed?.Reset();
        InFlight = 0;
        _fault = default;
    }

    /// <summary>Gives the lease on the memory back. The device must be stopped.</summary>
    public void Dispose()
    {
        if (!_disposed)
        {
            _disposed = true;
            _fault.Set(VirtqueueFault.RingOutsideMemory, "the queue was disposed");
            _lease.Dispose();
        }
    }

    private static uint Sum(ReadOnlySpan<GuestBuffer> buffers)
    {
        ulong sum = 0;
        foreach (GuestBuffer buffer in buffers)
        {
            sum += buffer.Length;
        }

        return (uint)Math.Min(sum, uint.MaxValue);
    }

    private void ThrowBadCount(int count) =>
        throw new ArgumentException(string.Create(CultureInfo.InvariantCulture, $"A request has 1 to {Size} buffers in this ring, not {count}."));
}
