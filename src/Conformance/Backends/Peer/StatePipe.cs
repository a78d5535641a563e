using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>The stream of a device's state, whose other end is the peer's: read and written without ever waiting for it longer than the patience of the run, and not without bound.</summary>
internal static class StatePipe
{
    private const int MostBytes = 64 << 20;
    private const int Piece = 1 << 16;

    /// <summary>Everything up to the end of the stream. The end is closed.</summary>
    public static async Task<byte[]> ReadAsync(SafeFileHandle end, TimeSpan patience)
    {
        DescriptorStream stream = Open(end, writes: false);
        await using (stream.ConfigureAwait(false))
        {
            using MemoryStream state = new();
            await JudgedAsync(late => stream.CopyToAsync(state, Piece, late), patience, "the state up to its end", "the end does not come").ConfigureAwait(false);
            return state.ToArray();
        }
    }

    /// <summary>Writes a state in pieces, all of which the peer takes, and closes the end.</summary>
    public static async Task WriteAsync(SafeFileHandle end, ReadOnlyMemory<byte> state, int piece, TimeSpan patience)
    {
        int length = state.Length;
        int taken = await WriteAsFarAsync(end, state, piece, patience).ConfigureAwait(false);
        Expect.That(taken == length, $"the whole state is read, {length} bytes", $"the back-end closed the stream after {taken}");
    }

    /// <summary>Writes as much of a state as the peer takes before it closes its own end, and closes this one. Returns how many bytes went.</summary>
    public static async Task<int> WriteAsFarAsync(SafeFileHandle end, ReadOnlyMemory<byte> state, int piece, TimeSpan patience)
    {
        DescriptorStream stream = Open(end, writes: true);
        await using (stream.ConfigureAwait(false))
        {
            await JudgedAsync(late => WritePiecesAsync(stream, state, piece, late), patience, "the state is read", "it is not").ConfigureAwait(false);
            return (int)stream.Moved;
        }
    }

    private static async Task WritePiecesAsync(DescriptorStream stream, ReadOnlyMemory<byte> state, int piece, CancellationToken late)
    {
        try
        {
            for (int at = 0; at < state.Length; at += Math.Min(piece, state.Length - at))
                await stream.WriteAsync(state.Slice(at, Math.Min(piece, state.Length - at)), late).ConfigureAwait(false);
        }
        catch (LinuxException failure) when (failure.Errno is Libc.EPIPE or Libc.ECONNRESET)
        {
            // The peer wants no more of it; whether it may depends on the state.
        }
    }

    /// <summary>The patience counts for the whole of the stream: a peer that moves a byte now and then has no more time.</summary>
    private static async Task JudgedAsync(Func<CancellationToken, Task> move, TimeSpan patience, string expected, string late)
    {
        using CancellationTokenSource deadline = new(patience);
        try
        {
            await move(deadline.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            throw Expect.Failed(expected, late);
        }
        catch (LinuxException failure)
        {
            throw Expect.Failed(expected, failure.Message);
        }
        catch (VhostUserException tooMuch)
        {
            throw Expect.Failed($"a state of at most {MostBytes >> 20} MiB", tooMuch.Message);
        }
    }

    private static DescriptorStream Open(SafeFileHandle end, bool writes)
    {
        if (!Fits(end, writes))
        {
            using SafeFileHandle unfit = end;
            throw Expect.Failed($"a channel that behaves like a pipe, and an end of it that can be {(writes ? "written" : "read")}", DescriptorInfo.Describe(end));
        }

        try
        {
            return DescriptorStream.Open(end, writes, new(MostBytes, "the most that the suite takes", Timeout.InfiniteTimeSpan, "", TimeProvider.System));
        }
        catch (ArgumentException unused)
        {
            throw Expect.Skipped($"the back-end chose a channel that the suite does not use: {unused.Message}");
        }
    }

    /// <summary>vhost-user leaves the nature of the channel to whoever creates it, as long as it behaves like a pipe: what is written comes out in order, up to an end.</summary>
    private static bool Fits(SafeFileHandle end, bool writes)
    {
        int access = Libc.StatusFlags(end) & Libc.O_ACCMODE;
        return !DescriptorInfo.IsPathOnly(end)
            && DescriptorInfo.Kind(end) is FileKind.Pipe or FileKind.Socket or FileKind.Regular or FileKind.CharacterDevice
            && (access == Libc.O_RDWR || (access == Libc.O_WRONLY) == writes);
    }
}
