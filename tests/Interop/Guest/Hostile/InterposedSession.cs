using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>
/// One session of a front-end, QEMU or ours, with the back-end, with a third party between them: it passes on every message with its descriptors, notes what the front-end says, knows the guest's memory by
/// them, and says to the back-end in QEMU's name what a test wants to.
/// </summary>
internal sealed class InterposedSession : IAsyncDisposable
{
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(60);

    private readonly VhostUserConnection _frontend;
    private readonly VhostUserConnection _backend;
    private readonly VhostUserProtocolFeatures _hidden;
    private readonly CancellationTokenSource _stop = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);

    /// <summary>Whose turn it is to speak to the back-end: QEMU's messages wait while a test asks.</summary>
    private readonly SemaphoreSlim _turn = new(1, 1);
    private readonly Task _relaying;
    private readonly ConcurrentQueue<VhostUserRequest> _said = new();
    private Question? _question;
    private DirtyLog? _log;
    private ulong _features;
    private ulong _protocolFeatures;
    private Task _reads = Task.CompletedTask;
    private volatile bool _serves;

    internal InterposedSession(VhostUserConnection frontend, VhostUserConnection backend, VhostUserProtocolFeatures hidden)
    {
        _frontend = frontend;
        _backend = backend;
        _hidden = hidden;
        _relaying = Task.WhenAll(Task.Run(ToBackendAsync), Task.Run(ToFrontendAsync));
    }

    /// <summary>The guest's memory as QEMU shares it, mapped here too.</summary>
    internal GuestMemory Memory { get; private set; } = GuestMemory.Create();

    /// <summary>The log that the front-end shares with the back-end, mapped here too; null before there is one.</summary>
    internal DirtyLog? Log => Volatile.Read(ref _log);

    /// <summary>The kick descriptor of the guest's own queue.</summary>
    internal EventNotifier? Kick { get; private set; }

    /// <summary>Whether the guest's own queue has been started and not been stopped.</summary>
    internal bool Serves => _serves;

    /// <summary>Ends when one of both sides has gone.</summary>
    internal Task Ended => _ended.Task;

    /// <summary>The front-end has said and acknowledged, at the last, everything that a test claims of it or of the back-end.</summary>
    internal void ShouldShow(Claims claims)
    {
        _said.Should().Contain(claims.Requests);
        ((VirtioFeatures)Volatile.Read(ref _features)).Should().HaveFlag(claims.Features);
        ((VhostUserProtocolFeatures)Volatile.Read(ref _protocolFeatures)).Should().HaveFlag(claims.ProtocolFeatures);
    }

    internal static byte[] Bytes<T>(T payload)
        where T : struct, IVhostUserPayload<T>
    {
        byte[] bytes = new byte[payload.EncodedSize];
        payload.Write(bytes);
        return bytes;
    }

    internal static byte[] State(uint index, uint number) => Bytes(new VhostUserVringState(index, number));

    /// <summary>Says something that has no answer.</summary>
    internal async Task SayAsync(VhostUserRequest request, ReadOnlyMemory<byte> payload, params SafeHandle[] descriptors)
    {
        using (await TurnAsync())
            await _backend.SendAsync(new VhostUserHeader((uint)request, VhostUserHeaderFlags.Version1, (uint)payload.Length), payload, descriptors);
    }

    /// <summary>Says bytes that may be no message.</summary>
    internal async Task SayRawAsync(ReadOnlyMemory<byte> bytes)
    {
        using (await TurnAsync())
            await _backend.SendRawAsync(bytes);
    }

    /// <summary>Says something and waits for the answer; null when the back-end ends the connection instead.</summary>
    internal async Task<byte[]?> AskAsync(uint request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors)
    {
        using (await TurnAsync())
        {
            Question question = new(request);
            Volatile.Write(ref _question, question);
            const VhostUserHeaderFlags flags = VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.NeedReply;
            await _backend.SendAsync(new VhostUserHeader(request, flags, (uint)payload.Length), payload, descriptors);
            await Task.WhenAny(question.Answer.Task, Ended).WaitAsync(_patience);
            Volatile.Write(ref _question, null);
            return question.Answer.Task.IsCompleted ? await question.Answer.Task : null;
        }
    }

    /// <summary>Says something and asks for an answer that does not come: that of the question behind it is the first.</summary>
    internal async Task UnansweredAsync(VhostUserRequest request, ReadOnlyMemory<byte> payload)
    {
        const VhostUserRequest behind = VhostUserRequest.GetFeatures;
        using (await TurnAsync())
        {
            Question question = new((uint)behind) { Unwanted = (uint)request };
            Volatile.Write(ref _question, question);
            await _backend.SendAsync(new VhostUserHeader((uint)request, VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.NeedReply, (uint)payload.Length), payload);
            await _backend.SendAsync(new VhostUserHeader((uint)behind, VhostUserHeaderFlags.Version1, 0), default);
            (await question.Answer.Task.WaitAsync(_patience)).Should().HaveCount(8);
            Volatile.Write(ref _question, null);
        }
    }

    /// <summary>From now on nobody reads what the back-end says.</summary>
    internal void StopReading() => Volatile.Write(ref _reads, Task.Delay(Timeout.Infinite, _stop.Token));

    internal Task<byte[]?> AskAsync(VhostUserRequest request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors) =>
        AskAsync((uint)request, payload, descriptors);

    internal async Task AcceptedAsync(VhostUserRequest request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors) =>
        (await AskAsync(request, payload, descriptors)).Should().Equal(new byte[8], "{0} should be accepted", request);

    /// <summary>The back-end says no, and the session goes on.</summary>
    internal async Task RefusedAsync(uint request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors)
    {
        byte[]? answer = await AskAsync(request, payload, descriptors);
        answer.Should().NotBeNull("request {0} should be refused, and no more", request);
        answer.Should().Match<byte[]>(bytes => bytes.Any(value => value != 0), "request {0} should be refused", request);
    }

    internal Task RefusedAsync(VhostUserRequest request, ReadOnlyMemory<byte> payload = default, params SafeHandle[] descriptors) =>
        RefusedAsync((uint)request, payload, descriptors);

    /// <summary>All that was said before has been acted on.</summary>
    internal async Task BarrierAsync() => (await AskAsync(VhostUserRequest.GetFeatures)).Should().HaveCount(8);

    /// <summary>Both sides lose their peer.</summary>
    internal void End()
    {
        _serves = false;
        _frontend.Abort();
        _backend.Abort();
        _ended.TrySetResult();
    }

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        End();
        await _relaying.WaitAsync(_patience);
        await _turn.WaitAsync(_patience); // who asks hears of the end first
        await _frontend.DisposeAsync();
        await _backend.DisposeAsync();
        Memory.Dispose();
        Log?.Dispose();
        Kick?.Dispose();
        _turn.Dispose();
        _stop.Dispose();
    }

    private async Task<Turn> TurnAsync()
    {
        await _turn.WaitAsync(_stop.Token);
        return new Turn(_turn);
    }

    private Task ToBackendAsync() => RelayAsync(_frontend, async (message, descriptors) =>
    {
        using (await TurnAsync())
        {
            Note(message, descriptors);
            await _backend.SendAsync(message.Header, message.Payload.ToArray(), descriptors);
        }

        // After it was said: who sees it started may speak at once, and comes behind.
        if (message.Header.Request == (uint)VhostUserRequest.SetVringEnable && VhostUserVringState.TryRead(message.Payload, out VhostUserVringState state) && state == new VhostUserVringState(0, 1))
            _serves = true;
    });

    private Task ToFrontendAsync() => RelayAsync(_backend, async (message, descriptors) =>
    {
        await Volatile.Read(ref _reads);
        if (Volatile.Read(ref _question) is { Unwanted: { } unwanted } asked && unwanted == message.Header.Request)
        {
            asked.Answer.TrySetException(new InvalidOperationException($"Request {unwanted} was answered."));
            return;
        }

        if (Volatile.Read(ref _question) is { } question && question.Request == message.Header.Request)
        {
            question.Answer.TrySetResult(message.Payload.ToArray());
            return;
        }

        byte[] payload = message.Payload.ToArray();
        if (message.Header.Request == (uint)VhostUserRequest.GetProtocolFeatures)
            BitConverter.TryWriteBytes(payload, BitConverter.ToUInt64(payload) & ~(ulong)_hidden);
        await _frontend.SendAsync(message.Header, payload, descriptors);
    });

    private async Task RelayAsync(VhostUserConnection from, Func<VhostUserMessage, SafeHandle[], Task> pass)
    {
        try
        {
            while (await from.ReceiveAsync(_stop.Token) is { } message)
            {
                using (message)
                {
                    SafeHandle[] descriptors = [.. Enumerable.Range(0, message.DescriptorCount).Select(message.TakeDescriptor)];
                    try
                    {
                        await pass(message, descriptors);
                    }
                    finally
                    {
                        foreach (SafeHandle descriptor in descriptors)
                            descriptor.Dispose();
                    }
                }
            }
        }
        catch (Exception e) when (e is VhostUserException or LinuxException or OperationCanceledException or ObjectDisposedException)
        {
            // One side has gone, or the test ends.
        }
        finally
        {
            End();
        }
    }

    private void Note(VhostUserMessage message, SafeHandle[] descriptors)
    {
        _said.Enqueue((VhostUserRequest)message.Header.Request);
        switch ((VhostUserRequest)message.Header.Request)
        {
            case VhostUserRequest.SetFeatures when VhostUserU64.TryRead(message.Payload, out VhostUserU64 features):
                Volatile.Write(ref _features, features.Value);
                break;
            case VhostUserRequest.SetProtocolFeatures when VhostUserU64.TryRead(message.Payload, out VhostUserU64 features):
                Volatile.Write(ref _protocolFeatures, features.Value);
                break;
            case VhostUserRequest.SetLogBase when VhostUserLog.TryRead(message.Payload, out VhostUserLog log) && descriptors.Length == 1:
                Interlocked.Exchange(ref _log, DirtyLog.Map(Reopen(descriptors[0]), log.MmapOffset, log.MmapSize))?.Dispose();
                break;
            case VhostUserRequest.AddMemReg when VhostUserSingleRegion.TryRead(message.Payload, out VhostUserSingleRegion added) && descriptors.Length == 1:
                SharedMemory mapped = SharedMemory.Map(Reopen(descriptors[0]), added.Region.MmapOffset, added.Region.Size);
                Replace(Memory.With(new GuestMemoryRegion(added.Region.GuestAddress, mapped, added.Region.UserAddress)));
                mapped.Dispose(); // the table holds it
                break;
            case VhostUserRequest.RemMemReg when VhostUserSingleRegion.TryRead(message.Payload, out VhostUserSingleRegion removed):
                Replace(Memory.Without(removed.Region.GuestAddress, removed.Region.Size, removed.Region.UserAddress));
                break;
            case VhostUserRequest.SetVringKick when message.Payload[0] == 0 && descriptors.Length == 1:
                Kick?.Dispose();
                Kick = EventNotifier.Duplicate(descriptors[0]);
                break;
            case VhostUserRequest.GetVringBase when message.Payload[0] == 0:
                _serves = false;
                break;
        }
    }

    private void Replace(GuestMemory next)
    {
        GuestMemory last = Memory;
        Memory = next;
        last.Dispose();
    }

    private static SafeFileHandle Reopen(SafeHandle descriptor) =>
        File.OpenHandle($"/proc/self/fd/{descriptor.DangerousGetHandle()}", FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);

    private sealed record Question(uint Request)
    {
        /// <summary>The request whose answer must not come.</summary>
        internal uint? Unwanted { get; init; }

        internal TaskCompletionSource<byte[]> Answer { get; } = new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    private readonly struct Turn(SemaphoreSlim turn) : IDisposable
    {
        public void Dispose() => turn.Release();
    }
}
