using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Vhost.Protocol.Tests;

/// <summary>Two connected ends, over a socket or in memory.</summary>
internal sealed class Ends : IAsyncDisposable
{
    private Ends((VhostUserConnection FrontEnd, VhostUserConnection BackEnd) pair) => (FrontEnd, BackEnd) = pair;

    internal VhostUserConnection FrontEnd { get; }

    internal VhostUserConnection BackEnd { get; }

    internal static Ends Make(bool inProcess = false, VhostUserConnectionOptions? options = null) => new(
        inProcess ? VhostUserConnection.CreateInProcessPair(options) : VhostUserConnection.CreatePair(options));

    internal static VhostUserHeader Header(uint request, int payload) => new(request, VhostUserHeaderFlags.Version1, (uint)payload);

    /// <summary>Header and payload in one array, as they travel.</summary>
    internal static byte[] Bytes(uint request, int payload)
    {
        byte[] bytes = new byte[VhostUserHeader.EncodedSize + payload];
        Header(request, payload).Write(bytes);
        for (int i = VhostUserHeader.EncodedSize; i < bytes.Length; i++) bytes[i] = (byte)i;
        return bytes;
    }

    /// <summary>That many eventfds; the numbers name the same file again and again, which is all a peer needs to be a nuisance.</summary>
    internal static SafeHandle[] Descriptors(SafeFileHandle descriptor, int count) => [.. Enumerable.Repeat(descriptor, count)];

    public async ValueTask DisposeAsync()
    {
        await FrontEnd.DisposeAsync();
        await BackEnd.DisposeAsync();
    }
}
