using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance.Tests;

/// <summary>One connection of <see cref="HandFrontend"/>: the way up, and then one read after the other.</summary>
internal sealed partial class HandFrontendSession : IAsyncDisposable
{
    private const int ReadsBetweenStops = 4;
    private const uint ConfigSize = 60;
    private const VirtioFeatures WantedFeatures =
        VirtioFeatures.Version1 | VirtioFeatures.VhostUserProtocolFeatures | VirtioFeatures.IndirectDescriptors | VirtioFeatures.EventIndex | VirtioFeatures.RingPacked;
    private const VhostUserProtocolFeatures WantedProtocol =
        VhostUserProtocolFeatures.MultiQueue | VhostUserProtocolFeatures.ReplyAck | VhostUserProtocolFeatures.Config | VhostUserProtocolFeatures.ConfigureMemSlots
        | VhostUserProtocolFeatures.BackendReq | VhostUserProtocolFeatures.InflightShmFd;

    private readonly VhostUserConnection _connection;
    private readonly FrontendSin _sin;
    private readonly CancellationToken _stop;
    private VirtioFeatures _features;
    private VhostUserProtocolFeatures _protocol;

    public HandFrontendSession(VhostUserConnection connection, FrontendSin sin, CancellationToken stop)
    {
        (_connection, _sin, _stop) = (connection, sin, stop);
        _incoming = ReceiveAsync();
    }

    /// <summary>Blocks that were read.</summary>
    public int Reads { get; private set; }

    public async Task RunAsync()
    {
        await NegotiateAsync();
        await BringUpAsync();
        while (true)
        {
            await ReadAsync((ulong)Reads);
            Reads++;
            if (Reads % ReadsBetweenStops == 0)
                await RestartAsync();
        }
    }

    public async ValueTask DisposeAsync()
    {
        await _connection.DisposeAsync();
        await ((Task)_incoming).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        if (_incoming.IsCompletedSuccessfully) (await _incoming)?.Dispose();
        await CloseChannelAsync();
        DropMemory();
    }

    private async Task NegotiateAsync()
    {
        if (_sin == FrontendSin.SaysUnknownMessage) await TellAsync((VhostUserRequest)200, []);
        if (_sin == FrontendSin.AsksForQueuesFirst) await AskAsync(VhostUserRequest.GetQueueNum);
        if (_sin != FrontendSin.NeverOwns) await TellAsync(VhostUserRequest.SetOwner, _sin == FrontendSin.OwnerWithPayload ? new byte[8] : []);
        VirtioFeatures offered = _sin == FrontendSin.NeverAsksForFeatures ? WantedFeatures & ~(VirtioFeatures.EventIndex | VirtioFeatures.RingPacked) : (VirtioFeatures)await AskAsync(VhostUserRequest.GetFeatures);
        Require((offered & VirtioFeatures.Version1) != 0, "a device of today");
        _features = offered & (_sin == FrontendSin.AcceptsUnknownFeatures ? (VirtioFeatures)ulong.MaxValue : WantedFeatures);
        if (_sin == FrontendSin.DiesOfEveryFeature && (ulong)offered == ulong.MaxValue) throw new HandCrashException();
        if ((offered & VirtioFeatures.VhostUserProtocolFeatures) != 0 || _sin == FrontendSin.AsksForProtocolWithoutBit) await NegotiateProtocolAsync();
        await ConfigureAsync();
        if (_sin is not (FrontendSin.AcknowledgesFeaturesLast or FrontendSin.NeverAcknowledgesFeatures)) await AcknowledgeFeaturesAsync();
    }

    private async Task AcknowledgeFeaturesAsync()
    {
        VirtioFeatures said = _features | (_sin == FrontendSin.AcknowledgesUnofferedFeature ? VirtioFeatures.RingPacked : 0);
        SafeFileHandle[] stray = _sin == FrontendSin.FeaturesWithDescriptor ? [Own(new EventNotifier()).Descriptor] : [];
        await TellAsync(VhostUserRequest.SetFeatures, U64((ulong)said), stray);
    }

    private async Task NegotiateProtocolAsync()
    {
        VhostUserProtocolFeatures offered = (VhostUserProtocolFeatures)await AskAsync(VhostUserRequest.GetProtocolFeatures);
        if (_sin == FrontendSin.DiesOfEveryProtocolBit && (ulong)offered == ulong.MaxValue) throw new HandCrashException();
        VhostUserProtocolFeatures agreed = offered & (_sin == FrontendSin.AcceptsUnknownProtocolBits ? (VhostUserProtocolFeatures)ulong.MaxValue : WantedProtocol);
        if (_sin == FrontendSin.AcknowledgesUnofferedProtocolBit) agreed |= VhostUserProtocolFeatures.LogShmFd;
        await TellAsync(VhostUserRequest.SetProtocolFeatures, U64((ulong)agreed));
        _protocol = agreed;
    }

    private async Task ConfigureAsync()
    {
        if (Has(VhostUserProtocolFeatures.MultiQueue) || _sin == FrontendSin.AsksForQueuesWithoutBit) await CheckQueuesAsync();
        if (Has(VhostUserProtocolFeatures.ConfigureMemSlots) || _sin == FrontendSin.AsksForSlotsWithoutBit) _slots = await CountSlotsAsync();
        if (Has(VhostUserProtocolFeatures.Config) || _sin == FrontendSin.AsksForConfigWithoutBit) await ReadConfigAsync();
        if (Has(VhostUserProtocolFeatures.BackendReq)) await HandOverChannelAsync();
    }

    private async Task CheckQueuesAsync()
    {
        ulong queues = await AskAsync(VhostUserRequest.GetQueueNum);
        if (_sin == FrontendSin.DiesOfNoQueues && queues == 0) throw new HandCrashException();
        if (_sin == FrontendSin.DiesOfManyQueues && queues > 1024) throw new HandCrashException();
        Require(queues > 0, "a queue");
    }

    private async Task<int> CountSlotsAsync()
    {
        ulong slots = await AskAsync(VhostUserRequest.GetMaxMemSlots);
        if (_sin == FrontendSin.DiesOfNoSlots && slots == 0) throw new HandCrashException();
        if (_sin == FrontendSin.DiesOfManySlots && slots > 1024) throw new HandCrashException();
        Require(slots > 0, "a memory slot");
        return _sin == FrontendSin.IgnoresSlots ? int.MaxValue : (int)Math.Min(slots, int.MaxValue);
    }

    private async Task ReadConfigAsync()
    {
        VhostUserConfig window = new(_sin == FrontendSin.AsksBeyondConfig ? 250U : 0, ConfigSize, VhostUserConfigFlags.Writable);
        byte[] question = new byte[VhostUserConfig.HeaderSize + (_sin == FrontendSin.AsksForConfigBriefly ? 0 : (int)ConfigSize)];
        window.Write(question.AsSpan(0, VhostUserConfig.HeaderSize));
        (byte[] reply, _) = await AskAsync(VhostUserRequest.GetConfig, question, null, 0);
        if (_sin == FrontendSin.DiesOfEmptyConfig && reply.Length == VhostUserConfig.HeaderSize) throw new HandCrashException();
        if (_sin == FrontendSin.DiesOfShortConfig && reply.Length < question.Length) throw new HandCrashException();
        if (_sin == FrontendSin.DiesOfLongConfig && reply.Length > question.Length) throw new HandCrashException();
        if (_sin == FrontendSin.AcceptsRefusedConfig && reply.Length == 0) return;
        bool asAsked = VhostUserConfig.TryRead(reply, out VhostUserConfig said) && said.Offset == window.Offset && said.Size == window.Size && reply.Length == VhostUserConfig.HeaderSize + said.Size;
        if (_sin == FrontendSin.DiesOfConfigElsewhere && said.Offset != window.Offset) throw new HandCrashException();
        Require(asAsked, "the window of the configuration that was asked for");
    }

    private bool Has(VhostUserProtocolFeatures bit) => (_protocol & bit) != 0;

    private bool Has(VirtioFeatures bit) => (_features & bit) != 0;

    private static void Require(bool condition, string what)
    {
        if (!condition) throw new HandLeavesException($"this front-end needs {what}");
    }

    private static byte[] U64(ulong value) => BitConverter.GetBytes(value);
}
