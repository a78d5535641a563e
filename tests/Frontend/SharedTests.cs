using System.Runtime.InteropServices;
using Vhost.Protocol;
using Vhost.Tests.Support;
using static Vhost.Frontend.Tests.SharingSteps;

namespace Vhost.Frontend.Tests;

/// <summary>What a back-end asks for objects, memory regions and doorbell pages, in a shape that cannot be.</summary>
[Collection(ProcessCounts.Name)]
public sealed class SharedTests : CountedTests
{
    [Theory]
    [InlineData(VhostUserBackendRequest.VringHostNotifierMsg, 23, 1)]
    [InlineData(VhostUserBackendRequest.VringHostNotifierMsg, 25, 1)]
    [InlineData(VhostUserBackendRequest.VringHostNotifierMsg, 24, 2)]
    [InlineData(VhostUserBackendRequest.SharedObjectAdd, 15, 0)]
    [InlineData(VhostUserBackendRequest.SharedObjectAdd, 17, 0)]
    [InlineData(VhostUserBackendRequest.SharedObjectAdd, 16, 1)]
    [InlineData(VhostUserBackendRequest.SharedObjectRemove, 15, 0)]
    [InlineData(VhostUserBackendRequest.SharedObjectLookup, 0, 0)]
    [InlineData(VhostUserBackendRequest.SharedObjectLookup, 17, 0)]
    [InlineData(VhostUserBackendRequest.SharedObjectLookup, 16, 2)]
    [InlineData(VhostUserBackendRequest.ShmemMap, 39, 1)]
    [InlineData(VhostUserBackendRequest.ShmemMap, 41, 1)]
    [InlineData(VhostUserBackendRequest.ShmemMap, 40, 0)]
    [InlineData(VhostUserBackendRequest.ShmemMap, 40, 2)]
    [InlineData(VhostUserBackendRequest.ShmemUnmap, 39, 0)]
    [InlineData(VhostUserBackendRequest.ShmemUnmap, 40, 1)]
    public async Task F09_requests_of_another_shape_are_refused_and_their_descriptors_closed(VhostUserBackendRequest request, int size, int descriptors)
    {
        using SharedObjectRegistry registry = new();
        await using Dialogue dialogue = await ReadyAsync(new() { SharedObjects = registry, HostNotifiers = new Doorbells() }, shmem: [Page]);
        using SharedMemoryRegions regions = await dialogue.Session.ReserveSharedMemoryAsync();
        using EventNotifier stray = new();
        for (int i = 0; i < 100; i++)
        {
            SafeHandle[] strays = [.. Enumerable.Repeat(stray.Descriptor, descriptors)];
            await dialogue.Backend.Channel!.SendAsync(VhostUserHeader.ForRequest(request, size, needReply: true), new byte[size], strays);
            using VhostUserMessage? reply = await dialogue.Backend.Channel.ReceiveAsync().InTime();
            BitConverter.ToUInt64(reply!.Payload).Should().Be(1);
        }

        registry.Count.Should().Be(0);
        regions.MappingCount.Should().Be(0);
    }
}
