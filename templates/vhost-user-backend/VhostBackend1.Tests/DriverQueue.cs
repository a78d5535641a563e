using Vhost.Frontend;
using Vhost.Protocol;
using Xunit;

namespace VhostBackend1.Tests;

/// <summary>One queue of the driver, with a request at a time. Up to four of them have room in a megabyte.</summary>
internal sealed class DriverQueue : IDisposable
{
    /// <summary>Bytes of the longest request.</summary>
    internal const int MaxLength = 0x1_0000;

    private static readonly TimeSpan _deadline = TimeSpan.FromSeconds(30);

    private readonly int _index;
    private readonly DriverVirtqueue _ring;
    private readonly GuestMemoryLease _lease;
    private readonly GuestAddress _request;
    private readonly GuestAddress _answer;
    private readonly EventNotifier _kick = new();
    private readonly EventNotifier _call = new();

    internal DriverQueue(GuestMemory memory, int index, VirtioFeatures features)
    {
        _index = index;
        _request = new GuestAddress(0x8_0000 + ((ulong)index * 2 * MaxLength));
        _answer = new GuestAddress(_request.Value + MaxLength);
        _lease = memory.Acquire();
        _ring = DriverVirtqueue.Create(memory, new GuestAddress((ulong)index * 0x1_0000), new DriverVirtqueueOptions { Size = 8 }, features);
    }

    public void Dispose()
    {
        _ring.Dispose();
        _lease.Dispose();
        _kick.Dispose();
        _call.Dispose();
    }

    internal VringSettings Describe() => _ring.Describe(_index, _kick, _call);

    /// <summary>Sends bytes and returns the answer, for which there is as much room.</summary>
    internal async Task<byte[]> AskAsync(byte[] bytes)
    {
        Assert.True(_lease.TryCopyFrom(bytes, _request));
        Assert.True(_ring.TrySubmit([new GuestBuffer(_request, (uint)bytes.Length)], [new GuestBuffer(_answer, (uint)bytes.Length)], token: 1));
        if (_ring.Publish())
            _kick.Signal();
        byte[] answer = new byte[(await CompletionAsync()).BytesWritten];
        Assert.True(_lease.TryCopyTo(_answer, answer));
        return answer;
    }

    private async Task<DriverCompletion> CompletionAsync()
    {
        using CancellationTokenSource limit = new(_deadline);
        DriverCompletion[] done = new DriverCompletion[1];
        while (_ring.Drain(done) == 0)
        {
            if (_ring.ArmCall())
                await _call.WaitAsync(limit.Token);
            _call.TryConsume();
        }

        return done[0];
    }
}
