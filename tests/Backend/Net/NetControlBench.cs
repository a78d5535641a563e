using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests;

/// <summary>A network device with a control queue, and a driver of it that is written by hand.</summary>
public abstract class NetControlBench : NetPortBench
{
    private protected const VirtioNetFeatures Everything = VirtioNetFeatures.MergeableBuffers | VirtioNetFeatures.Status | VirtioNetFeatures.ControlQueue | VirtioNetFeatures.ControlReceive
        | VirtioNetFeatures.ControlReceiveExtra | VirtioNetFeatures.ControlVlan | VirtioNetFeatures.ControlMacAddress | VirtioNetFeatures.GuestAnnounce | VirtioNetFeatures.MultiQueue;

    private protected const byte Done = 0;
    private protected const byte Refused = 1;

    private protected static readonly MacAddress Own = new(0x0000_0000_0002);
    private protected static readonly MacAddress Other = new(0x0100_0000_0002);
    private protected static readonly MacAddress Group = new(0x0100_0000_0001);

    private protected int ControlIndex { get; private set; } = 4;

    private protected void Start(bool packed, VirtioNetFeatures features = Everything, int queues = 4, int? control = 4)
    {
        ControlIndex = queues;
        Start(packed, features, options: new NetDeviceOptions { QueuePairs = 2, Mac = Own }, queues: control is null ? queues : queues + 1);
    }

    private protected Task<byte> SayAsync(byte @class, byte command, params byte[] data) => SendAsync([@class, command, .. data]);

    private protected async Task<byte> SendAsync(byte[] bytes)
    {
        HandRing ring = Ring(ControlIndex);
        int before = ring.Used.Count;
        Put(Data + 0x1000, [.. bytes, 0xEE]);
        ulong answer = Data + 0x8000;
        Put(answer, [0xEE, 0xEE]);
        if (bytes.Length == 0)
            ring.Offer(deviceWrites: true, (answer, 2));
        else
            ring.OfferMixed(1, (Data + 0x1000, bytes.Length), (answer, 2));
        await Eventually.TrueAsync(() => ring.Used.Count == before + 1);
        ring.Used[before].Length.Should().Be(1);
        byte[] got = Get(answer, 2);
        got[1].Should().Be(0xEE);
        return got[0];
    }

    private protected Task<byte> ServedAsync() => SendAsync([]);
}
