using System.Diagnostics;
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
        using SafeFileHandle owned = end;
        using MemoryStream state = new();
        byte[] piece = new byte[Piece];
        long begun = Stopwatch.GetTimestamp();
        while (true)
        {
            int read = Libc.ReadNoWait(end, piece);
            if (read == 0)
                return state.ToArray();
            if (read > 0)
                state.Write(piece, 0, read);
            else if (read != -Libc.EAGAIN)
                throw Expect.Failed("a stream that can be read", ErrnoNames.Of(-read));
            Expect.That(state.Length <= MostBytes, $"a state of at most {MostBytes >> 20} MiB", "more");
            Expect.That(Stopwatch.GetElapsedTime(begun) < patience, "the state up to its end", "the end does not come");
            if (read < 0)
                await Task.Delay(1).ConfigureAwait(false);
        }
    }

    /// <summary>Writes a state in pieces and closes the end. False: the peer has closed its own before.</summary>
    public static async Task<bool> WriteAsync(SafeFileHandle end, ReadOnlyMemory<byte> state, int piece, TimeSpan patience)
    {
        using SafeFileHandle owned = end;
        long begun = Stopwatch.GetTimestamp();
        while (!state.IsEmpty)
        {
            int written = Libc.WriteNoWait(end, state.Span[..Math.Min(piece, state.Length)]);
            if (written == -Libc.EPIPE)
                return false;
            if (written < 0 && written != -Libc.EAGAIN)
                throw Expect.Failed("a stream that can be written", ErrnoNames.Of(-written));
            state = state[Math.Max(0, written)..];
            Expect.That(Stopwatch.GetElapsedTime(begun) < patience, "the state is read", "it is not");
            if (written < 0)
                await Task.Delay(1).ConfigureAwait(false);
        }

        return true;
    }
}
