using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>The area in which requests are noted while they are worked on (vhost-user "Inflight I/O tracking"), in the layout of one format of rings.</summary>
internal abstract class HandInflight : IDisposable
{
    protected const ulong VersionAt = 8;
    protected const ulong SizeAt = 10;

    private readonly VhostUserInflight _said;
    private readonly GuestMemory _memory;

    protected HandInflight(HandSession session, VhostUserInflight said, GuestMemory memory) => (Session, _said, _memory) = (session, said, memory);

    protected HandSession Session { get; }

    /// <summary>What the next request is numbered with.</summary>
    protected ulong Counter { get; set; }

    public static ulong SizeFor(HandSession session, VhostUserInflight asked) => asked.QueueCount * QueueBytes(asked.QueueSize, session.Has(VirtioFeatures.RingPacked));

    public static HandInflight? TryMap(HandSession session, VhostUserInflight said, SafeFileHandle descriptor)
    {
        try
        {
            using SharedMemory shared = SharedMemory.Map(descriptor, said.MmapOffset, said.MmapSize);
            GuestMemory memory = GuestMemory.Create(new GuestMemoryRegion(default, shared));
            return session.Has(VirtioFeatures.RingPacked) ? new HandPackedInflight(session, said, memory) : new HandSplitInflight(session, said, memory);
        }
        catch (Exception e) when (e is IOException or ArgumentException or OverflowException)
        {
            return null;
        }
    }

    public bool Covers(int queue, uint size) => queue >= _said.QueueCount || size <= _said.QueueSize;

    public bool Has(int queue) => queue < _said.QueueCount;

    public void Dispose() => _memory.Dispose();

    protected ulong At(int queue) => (ulong)queue * QueueBytes(_said.QueueSize, this is HandPackedInflight);

    protected T Get<T>(ulong at)
        where T : unmanaged
    {
        using GuestMemoryLease lease = _memory.Acquire();
        return lease.TryRead(new GuestAddress(at), out T value) ? value : default;
    }

    protected void Put<T>(ulong at, T value)
        where T : unmanaged
    {
        using GuestMemoryLease lease = _memory.Acquire();
        lease.TryWrite(new GuestAddress(at), value);
    }

    /// <summary>A header and an entry for each descriptor: of 16 bytes, or of 32 for packed rings.</summary>
    private static ulong QueueBytes(ushort size, bool packed) => (ulong)((packed ? 32 : 16) * (size + 1) + 63) / 64 * 64;
}
