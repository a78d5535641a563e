using System.Collections.Concurrent;
using System.Runtime.InteropServices;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Proxy.Tests;

/// <summary>A proxy between two ends that say what a test has them say.</summary>
internal sealed class ProxyBench : IAsyncDisposable
{
    private static readonly VhostUserConnectionOptions _long = new() { MaxPayload = VhostUserProxyOptions.LargestPayload };
    private readonly CancellationTokenSource _stop = new();

    private ProxyBench(params FaultRule[] faults)
    {
        Proxy = new VhostUserProxy(new VhostUserProxyOptions { Faults = faults, Observer = Seen.Enqueue });
        (FrontEnd, VhostUserConnection towardsFrontEnd) = VhostUserConnection.CreatePair(_long);
        (VhostUserConnection towardsBackEnd, BackEnd) = VhostUserConnection.CreatePair(_long);
        Ended = Proxy.RunAsync(towardsFrontEnd, towardsBackEnd, _stop.Token);
    }

    public VhostUserProxy Proxy { get; }

    public VhostUserConnection FrontEnd { get; }

    public VhostUserConnection BackEnd { get; }

    /// <summary>What the observer was shown.</summary>
    public ConcurrentQueue<ProxyMessage> Seen { get; } = new();

    public Task<ProxySummary> Ended { get; }

    public static ProxyBench Start(params string[] faults) => new([.. faults.Select(FaultRule.Parse)]);

    public static Task AskAsync(VhostUserConnection from, VhostUserRequest request, byte[]? payload = null, params SafeHandle[] descriptors)
    {
        byte[] bytes = payload ?? [];
        return from.SendAsync(VhostUserHeader.ForRequest(request, bytes.Length), bytes, descriptors).AsTask().InTime();
    }

    public static async Task<Said> NextAsync(VhostUserConnection at)
    {
        using VhostUserMessage? message = await at.ReceiveAsync().AsTask().InTime();
        message.Should().NotBeNull("the connection is there");
        return new Said(message!.Header, message.Payload.ToArray(), message.DescriptorCount);
    }

    public static async Task ExpectEndAsync(VhostUserConnection at) => (await at.ReceiveAsync().AsTask().InTime()).Should().BeNull();

    public async ValueTask DisposeAsync()
    {
        await _stop.CancelAsync();
        await FrontEnd.DisposeAsync();
        await BackEnd.DisposeAsync();
        await Task.WhenAny(Ended).InTime();
        _stop.Dispose();
    }

    internal sealed record Said(VhostUserHeader Header, byte[] Payload, int Descriptors);
}
