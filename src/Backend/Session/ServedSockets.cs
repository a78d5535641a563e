using System.Collections.Concurrent;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// The sockets on which this process serves front-ends, by number. A front-end that hands over the other end of one keeps that session from ending with itself: as long as we hold that end, nobody has closed it.
/// </summary>
internal static class ServedSockets
{
    private static readonly ConcurrentDictionary<ulong, bool> _numbers = new();

    internal static void Add(VhostUserConnection connection) => _numbers.TryAdd(connection.SocketNumber, true);

    internal static void Remove(VhostUserConnection connection) => _numbers.TryRemove(connection.SocketNumber, out _);

    /// <summary>Whether a connected socket that a front-end hands over is the other end of such a socket.</summary>
    /// <param name="handedOver">What it hands over.</param>
    /// <param name="by">Its own connection.</param>
    internal static bool HasOtherEnd(SafeFileHandle handedOver, VhostUserConnection by)
    {
        if (by.SharesListenerWith(handedOver))
            return true;
        if (Libc.PeerNumber(handedOver) is var peer and not 0)
            return _numbers.ContainsKey(peer);
        // The kernel says no numbers. Of sockets that we have connected to front-ends it still says that it was us; an honest pair is of the front-end's making.
        return by.PeerProcessId != Environment.ProcessId && Libc.PeerProcess(handedOver) == Environment.ProcessId;
    }
}
