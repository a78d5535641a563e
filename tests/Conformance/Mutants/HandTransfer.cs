using System.Buffers.Binary;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests.Mutants;

/// <summary>The device's own state, on its way through a pipe: whether the cache writes back.</summary>
internal sealed class HandTransfer(HandSession session)
{
    private const ulong Magic = 0x3144_6e61_4864_6e61;
    private const int Size = 16;

    private Task<bool> _outcome = Task.FromResult(false);

    public HandAnswer Begin(VhostUserDeviceState said, SafeFileHandle descriptor, bool anyStarted)
    {
        bool known = said.Direction <= VhostUserTransferDirection.Load && said.Phase == VhostUserTransferPhase.Stopped;
        bool allowed = (known || session.Is(Sin.AcceptsUnknownDirection)) && (!anyStarted || session.Is(Sin.TransfersWhileRunning)) && _outcome.IsCompleted;
        if (!allowed)
        {
            descriptor.Dispose();
            return HandAnswer.Reply(VhostUserDeviceStateReply.Create(1, noDescriptor: true));
        }

        bool loads = said.Direction == VhostUserTransferDirection.Load;
        _outcome = Task.Factory.StartNew(() => loads ? Load(descriptor) : Save(descriptor), default, TaskCreationOptions.LongRunning, TaskScheduler.Default);
        return HandAnswer.Reply(VhostUserDeviceStateReply.Create(0, noDescriptor: !session.Is(Sin.PromisesDescriptorForState)));
    }

    /// <summary>Waits for the end of it, a bounded time.</summary>
    public async Task<bool> OutcomeAsync()
    {
        Task<bool> outcome = _outcome;
        if (session.Is(Sin.ChecksNoState)) return true;
        await ((Task)outcome.WaitAsync(TimeSpan.FromSeconds(3), session.Stopping)).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (outcome.IsCompleted) _outcome = Task.FromResult(false);
        return outcome.IsCompleted && await outcome;
    }

    private bool Save(SafeFileHandle pipe)
    {
        byte[] state = new byte[Size];
        BinaryPrimitives.WriteUInt64LittleEndian(state, Magic);
        state[8] = session.Backend.Disk.WriteBack;
        try
        {
            FileStream stream = new(pipe, FileAccess.Write, 0);
            stream.Write(session.Is(Sin.SavesNothing) ? [] : state);
            if (session.Is(Sin.NeverEndsSave)) session.Backend.Leak(stream);
            else stream.Dispose();
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            pipe.Dispose();
            return false;
        }
    }

    private bool Load(SafeFileHandle pipe)
    {
        byte[] state = new byte[Size + 1];
        try
        {
            using FileStream stream = new(pipe, FileAccess.Read, 0);
            int length = 0;
            while (length < state.Length && ReadSome(stream, state.AsSpan(length)) is var count and > 0) length += count;
            return Accept(state.AsSpan(0, length));
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or NotSupportedException or ArgumentException)
        {
            pipe.Dispose();
            return false;
        }
    }

    /// <summary>The other side may have made its pipe one that does not wait.</summary>
    private int ReadSome(FileStream stream, Span<byte> into)
    {
        const short Readable = Libc.POLLIN;
        const int Look = 20; // milliseconds, after each of which it is seen whether the session ends
        while (true)
        {
            try
            {
                return stream.Read(into);
            }
            catch (IOException e) when (e.HResult == Libc.EAGAIN && !session.Stopping.IsCancellationRequested)
            {
                Libc.Poll(stream.SafeFileHandle, Readable, Look);
            }
        }
    }

    private bool Accept(ReadOnlySpan<byte> state)
    {
        if (state.Length != Size || BinaryPrimitives.ReadUInt64LittleEndian(state) != Magic || state[8] > 1) return false;
        session.Backend.Disk.WriteBack = state[8];
        return true;
    }
}
