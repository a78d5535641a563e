using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>
/// A back-end of a few lines: records every message, answers what its offer says, and misbehaves on request. It shares no code with the real
/// back-end.
/// </summary>
internal sealed class ScriptedBackend : IAsyncDisposable
{
    private readonly Lock _gate = new();
    private readonly VhostUserConnection _connection;
    private readonly List<ScriptedRequest> _requests = [];
    private readonly List<(int From, VhostUserRequest Code, TaskCompletionSource<ScriptedRequest> Came)> _awaited = [];
    private readonly Task _loop;
    private byte _status;
    private int _received;

    public ScriptedBackend(VhostUserConnection connection, BackendOffer? offer = null, Func<ScriptedRequest, int, Misbehaviour?>? misbehave = null)
    {
        _connection = connection;
        Offer = offer ?? new BackendOffer();
        Misbehave = misbehave;
        _loop = RunAsync();
    }

    public BackendOffer Offer { get; set; }

    /// <summary>Asked with each request and its number from 0; null means good behaviour.</summary>
    public Func<ScriptedRequest, int, Misbehaviour?>? Misbehave { get; set; }

    /// <summary>Whether requests are kept to be looked at; a test that says very much without descriptors turns it off.</summary>
    public bool Records { get; set; } = true;

    /// <summary>The back-end's end of its own channel, once it has come.</summary>
    public VhostUserConnection? Channel { get; private set; }

    /// <summary>Ends when the front-end has closed the connection, or the back-end has.</summary>
    public Task Ended => _loop;

    public VhostUserConnection Connection => _connection;

    public IReadOnlyList<ScriptedRequest> Requests
    {
        get
        {
            lock (_gate)
                return [.. _requests];
        }
    }

    public IReadOnlyList<string> Transcript => [.. Requests.Select(request => request.ToString())];

    /// <summary>What came since the mark.</summary>
    public IReadOnlyList<string> Since(int mark) => [.. Transcript.Skip(mark)];

    public int Mark() => Requests.Count;

    public ScriptedRequest Last(VhostUserRequest code) => Requests.Last(request => request.Code == code);

    /// <summary>The first message of a kind since the mark, which may be still to come.</summary>
    public Task<ScriptedRequest> WhenAsync(VhostUserRequest code, int mark = 0)
    {
        TaskCompletionSource<ScriptedRequest> came = new(TaskCreationOptions.RunContinuationsAsynchronously);
        lock (_gate)
        {
            if (_requests.Skip(mark).FirstOrDefault(request => request.Code == code) is { } request)
                return Task.FromResult(request);
            _awaited.Add((mark, code, came));
        }

        return came.Task.InTime();
    }

    public async ValueTask DisposeAsync()
    {
        _connection.Abort();
        await _loop.WaitAsync(TimeSpan.FromSeconds(10));
        await _connection.DisposeAsync();
        if (Channel is not null)
            await Channel.DisposeAsync();
        foreach (SafeFileHandle descriptor in Requests.SelectMany(request => request.Descriptors))
            descriptor.Dispose();
    }

    private async Task RunAsync()
    {
        try
        {
            while (await _connection.ReceiveAsync() is { } message)
            {
                ScriptedRequest request = Record(message);
                if (!await AnswerAsync(request, _received++))
                    break;
            }
        }
        catch (Exception failure) when (failure is VhostUserException or ObjectDisposedException or OperationCanceledException)
        {
            // The front-end has gone; the tests look at its side.
        }
    }

    private ScriptedRequest Record(VhostUserMessage message)
    {
        using (message)
        {
            SafeFileHandle[] descriptors = [.. Enumerable.Range(0, message.DescriptorCount).Select(message.TakeDescriptor)];
            ScriptedRequest request = new((VhostUserRequest)message.Header.Request, message.Header.Flags, message.Payload.ToArray(), descriptors);
            if (!Records)
                return request;
            lock (_gate)
            {
                _requests.Add(request);
                foreach ((_, _, TaskCompletionSource<ScriptedRequest> came) in _awaited.Where(one => one.Code == request.Code && _requests.Count > one.From))
                    came.TrySetResult(request);
            }

            return request;
        }
    }

    private async ValueTask<bool> AnswerAsync(ScriptedRequest request, int number)
    {
        switch (Misbehave?.Invoke(request, number))
        {
            case Misbehaviour.Hang:
                return true;
            case Misbehaviour.Die:
                _connection.Abort();
                return false;
            case Misbehaviour.Say said:
                await said.SendAsync(_connection);
                return true;
        }

        if (request.Code == VhostUserRequest.SetBackendReqFd)
            Channel = VhostUserConnection.Adopt(Duplicate(request.Descriptors[0]));
        if (request.Code == VhostUserRequest.SetStatus)
            _status = (byte)request.U64;
        if (OwnReply(request) is { } own)
            await SendAsync(request.Code, own);
        else if (request.WantsAcknowledgement)
            await SendAsync(request.Code, BitConverter.GetBytes(Offer.Acknowledgement));
        return true;
    }

    private byte[]? OwnReply(ScriptedRequest request) => request.Code switch
    {
        VhostUserRequest.GetFeatures => BitConverter.GetBytes((ulong)Offer.Features),
        VhostUserRequest.GetProtocolFeatures => BitConverter.GetBytes((ulong)Offer.Protocol),
        VhostUserRequest.GetQueueNum => BitConverter.GetBytes(Offer.Queues),
        VhostUserRequest.GetMaxMemSlots => BitConverter.GetBytes(Offer.Slots),
        VhostUserRequest.GetVringBase or VhostUserRequest.GetVringBaseSkipDrain => [.. BitConverter.GetBytes(request.First), .. BitConverter.GetBytes(Offer.Base)],
        VhostUserRequest.SetLogBase => request.Payload,
        VhostUserRequest.GetStatus => BitConverter.GetBytes((ulong)(_status & Offer.StatusMask)),
        VhostUserRequest.GetConfig => ConfigReply(request),
        _ => null,
    };

    private byte[] ConfigReply(ScriptedRequest request) =>
        request.First + request.Second > Offer.Config.Length
            ? []
            : [.. request.Payload.AsSpan(0, 12), .. Offer.Config.AsSpan((int)request.First, (int)request.Second)];

    private ValueTask SendAsync(VhostUserRequest code, byte[] payload) =>
        _connection.SendAsync(new VhostUserHeader((uint)code, VhostUserHeaderFlags.Version1 | VhostUserHeaderFlags.Reply, (uint)payload.Length), payload);

    /// <summary>The recorded descriptor stays open for the tests to look at, so the channel gets one of its own.</summary>
    private static SafeFileHandle Duplicate(SafeHandle descriptor) => Libc.Duplicate(descriptor);
}
