using System.Runtime.InteropServices;

namespace Vhost.Protocol.Tests;

/// <summary>Whether packets can be written past the caches here.</summary>
public sealed class PacketStreamTests
{
    /// <summary>tests/run.sh runs the data path a second time with vector instructions off, which must mean that the plain path is taken.</summary>
    [Fact]
    public void A_processor_without_vector_instructions_streams_nothing()
    {
        bool isOff = Environment.GetEnvironmentVariable("DOTNET_EnableHWIntrinsic") == "0";

        PacketStream.IsSupported.Should().Be(!isOff && RuntimeInformation.ProcessArchitecture == Architecture.X64);
    }
}
