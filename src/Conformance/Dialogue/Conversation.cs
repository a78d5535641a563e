using System.Diagnostics;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>One connection of a case: says anything, lies included, hears everything, and writes both down.</summary>
internal sealed class Conversation(VhostUserConnection connection, VhostUserChannel kind, string channel, Dialogue dialogue, TimeSpan patience) : IAsyncDisposable
{
    public VhostUserConnection Connection => connection;

    /// <summary>How the lines of this conversation are labelled.</summary>
    public string Channel => channel;

    /// <summary>Whether the peer has ended the connection, as far as was noticed.</summary>
    public bool IsClosed { get; private set; }

    public Task SendAsync(uint code, VhostUserHeaderFlags flags, ReadOnlyMemory<byte> payload, params SafeHandle[] descriptors) =>
        SendAsync(new VhostUserHeader(code, flags, (uint)payload.Length), payload, descriptors);

    /// <summary>Sends a message whose header says the right size.</summary>
    public async Task SendAsync(VhostUserHeader header, ReadOnlyMemory<byte> payload, params SafeHandle[] descriptors)
    {
        dialogue.Message(DialogueSpeaker.Suite, channel, kind, header, payload.Span, descriptors.Length);
        await GuardedAsync(connection.SendAsync(header, payload, descriptors).AsTask()).ConfigureAwait(false);
    }

    /// <summary>Sends bytes as they are, with <paramref name="what"/> in the dialogue.</summary>
    public async Task SendRawAsync(ReadOnlyMemory<byte> bytes, string what, params SafeHandle[] descriptors)
    {
        dialogue.Add(DialogueSpeaker.Suite, channel, $"{what} ({bytes.Length} raw bytes, {descriptors.Length} descriptors)");
        await GuardedAsync(connection.SendRawAsync(bytes, descriptors).AsTask()).ConfigureAwait(false);
    }

    /// <summary>The next message; null: the peer has ended the connection. A peer that says nothing within the patience of the run fails the case.</summary>
    public async Task<ReceivedMessage?> TryReceiveAsync(string awaited)
    {
        if (IsClosed)
            return null;
        VhostUserMessage? message;
        using CancellationTokenSource deadline = new(patience);
        try
        {
            message = await connection.ReceiveAsync(deadline.Token).ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            dialogue.Note($"nothing came within {patience.TotalSeconds:0.###} s", channel);
            throw Expect.Failed(awaited, "no answer");
        }
        catch (VhostUserProtocolException malformed) when (!OwnFault.Is(malformed))
        {
            Closed(malformed.Message);
            throw Expect.Failed(awaited, $"a malformed message: {malformed.Message}");
        }
        catch (Exception failure) when (failure is VhostUserException or LinuxException && !OwnFault.Is(failure))
        {
            message = null;
        }

        if (message is null)
        {
            Closed("the peer ended the connection");
            return null;
        }

        using (message)
            return Taken(message);
    }

    /// <summary>The next message, whatever it is. A peer that ends the connection fails the case.</summary>
    public async Task<ReceivedMessage> ReceiveAsync(string awaited) =>
        await TryReceiveAsync(awaited).ConfigureAwait(false) ?? throw Expect.Failed(awaited, "the peer ended the connection");

    /// <summary>Whether the connection ends; what is said before that is heard and dropped.</summary>
    public async Task<bool> EndsAsync()
    {
        try
        {
            long begun = Stopwatch.GetTimestamp();
            while (await TryReceiveAsync("the end of the connection").ConfigureAwait(false) is { } message)
            {
                message.Dispose();
                if (Stopwatch.GetElapsedTime(begun) > patience)
                    return false;
            }

            return true;
        }
        catch (CaseEndedException)
        {
            return false;
        }
    }

    /// <summary>Says nothing more, and waits until the peer has noticed: whether it serves afterwards is asked only then. A peer that does not end its own side has until the patience of the run ends.</summary>
    public async Task LeaveAsync()
    {
        dialogue.Note("the suite has said its last", channel);
        connection.EndSending();
        _ = await EndsAsync().ConfigureAwait(false);
    }

    public ValueTask DisposeAsync() => connection.DisposeAsync();

    private ReceivedMessage Taken(VhostUserMessage message)
    {
        byte[] payload = message.Payload.ToArray();
        SafeFileHandle[] descriptors = [.. Enumerable.Range(0, message.DescriptorCount).Select(message.TakeDescriptor)];
        dialogue.Message(DialogueSpeaker.Peer, channel, kind, message.Header, payload, descriptors.Length);
        return new ReceivedMessage(message.Header, payload, descriptors);
    }

    private async Task GuardedAsync(Task send)
    {
        try
        {
            await send.WaitAsync(patience).ConfigureAwait(false);
        }
        catch (TimeoutException)
        {
            throw Expect.Failed("the peer reads what it is sent", "it reads nothing");
        }
        catch (Exception failure) when (failure is VhostUserException or LinuxException && !OwnFault.Is(failure))
        {
            // What the peer said before it went can still be read; the next wait for a message tells.
            dialogue.Note("the connection was ended while this was sent", channel);
        }
    }

    private void Closed(string why)
    {
        IsClosed = true;
        dialogue.Note(why, channel);
    }
}
