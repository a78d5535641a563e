using BenchmarkDotNet.Attributes;
using Vhost.Protocol;

namespace Vhost.Bench.Micro;

/// <summary>What one control message costs before it is acted on.</summary>
[MemoryDiagnoser]
public class CodecBenchmarks
{
    private readonly byte[] _header = new byte[VhostUserHeader.EncodedSize];
    private readonly byte[] _address = new byte[40];
    private readonly NegotiatedState _state = new(VirtioFeatures.Version1, VirtioFeatures.Version1, VhostUserProtocolFeatures.All, VhostUserProtocolFeatures.All);

    [GlobalSetup]
    public void Setup()
    {
        VhostUserHeader.ForRequest(VhostUserRequest.SetVringAddr, 40).Write(_header);
        new VhostUserVringAddress(1, 0, new UserAddress(0x1000), new UserAddress(0x2000), new UserAddress(0x3000), 0).Write(_address);
    }

    [Benchmark]
    public bool ReadHeaderAndPayload() =>
        VhostUserHeader.TryRead(_header, out VhostUserHeader header)
        && VhostUserVringAddress.TryRead(_address, out VhostUserVringAddress address)
        && header.PayloadSize == 40 && address.Index == 1;

    [Benchmark]
    public bool CheckRequest()
    {
        VhostUserHeader.TryRead(_header, out VhostUserHeader header);
        return MessageValidator.CheckRequest(VhostUserChannel.Main, header, 0, _state).IsValid;
    }

    [Benchmark]
    public void WriteHeaderAndPayload()
    {
        VhostUserHeader.ForRequest(VhostUserRequest.SetVringAddr, 40).Write(_header);
        new VhostUserVringAddress(1, 0, new UserAddress(0x1000), new UserAddress(0x2000), new UserAddress(0x3000), 0).Write(_address);
    }
}
