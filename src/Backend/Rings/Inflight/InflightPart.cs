using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>One queue's part of an in-flight area. Every store is seen after all stores before it, since the process may be killed between any two.</summary>
/// <param name="window">The bytes.</param>
/// <param name="lease">Keeps them mapped; ends with the part.</param>
/// <param name="entries">Entries that it has.</param>
internal sealed class InflightPart(MappedWindow window, GuestMemoryLease lease, uint entries) : IDisposable
{
    private GuestMemoryLease _lease = lease;

    internal uint Entries { get; } = entries;

    /// <summary>For tests: called after every store, where a process may end.</summary>
    internal Action? Stored { get; set; }

    internal T Read<T>(ulong offset)
        where T : unmanaged => window.Read<T>(offset);

    internal void Write<T>(ulong offset, T value)
        where T : unmanaged
    {
        Volatile.WriteBarrier();
        window.Write(offset, value);
        Stored?.Invoke();
    }

    /// <summary>Whether somebody has noted requests here, for a ring with as many entries.</summary>
    internal bool IsInUse => Read<ushort>(InflightLayout.VersionAt) == InflightLayout.Version && Read<ushort>(InflightLayout.EntriesAt) == Entries;

    /// <summary>Makes the part that of a queue of which nothing is in flight. The version comes last: a part without one is made again.</summary>
    /// <param name="words">Writes what the format has besides.</param>
    internal void Begin(Action words)
    {
        Write<ushort>(InflightLayout.VersionAt, 0);
        Write<ushort>(InflightLayout.EntriesAt, (ushort)Entries);
        words();
        Write(InflightLayout.VersionAt, InflightLayout.Version);
    }

    public void Dispose()
    {
        GuestMemoryLease held = _lease;
        _lease = default;
        held.Dispose();
    }
}
