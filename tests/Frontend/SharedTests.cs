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
            (await AskAsync(dialogue, request, size, [.. Enumerable.Repeat(stray.Descriptor, descriptors)])).Should().Be(1);
        }

        registry.Count.Should().Be(0);
        regions.MappingCount.Should().Be(0);
    }

    [Theory]
    [InlineData(VhostUserBackendRequest.VringCall, 8, 0)]
    [InlineData(VhostUserBackendRequest.VringErr, 8, 0)]
    [InlineData(VhostUserBackendRequest.VringHostNotifierMsg, 24, 1)]
    [InlineData(VhostUserBackendRequest.SharedObjectAdd, 16, 0)]
    [InlineData(VhostUserBackendRequest.SharedObjectRemove, 16, 0)]
    [InlineData(VhostUserBackendRequest.SharedObjectLookup, 16, 0)]
    [InlineData(VhostUserBackendRequest.ShmemMap, 40, 1)]
    [InlineData(VhostUserBackendRequest.ShmemUnmap, 40, 0)]
    public async Task F09_what_is_not_negotiated_is_refused_and_said_now_and_then(VhostUserBackendRequest request, int size, int descriptors)
    {
        using LogRecorder log = new();
        await using Dialogue dialogue = await Dialogue.StartAsync(options: new VhostUserFrontendOptions { LoggerFactory = log });
        using EventNotifier stray = new();
        for (int i = 0; i < 100; i++)
            (await AskAsync(dialogue, request, size, [.. Enumerable.Repeat(stray.Descriptor, descriptors)])).Should().Be(1);
        log.Entries.Count(entry => entry.Id == 2040).Should().Be(7, "the 1st, 2nd, 4th … 64th are said");
    }

    /// <summary>HOST_NOTIFIER is there, and BACKEND_SEND_FD is not.</summary>
    [Fact]
    public async Task F09_a_descriptor_is_not_taken_from_a_back_end_that_may_send_none()
    {
        Doorbells doorbells = new();
        const VhostUserProtocolFeatures wanted = BackendOffer.UsualProtocol | VhostUserProtocolFeatures.HostNotifier;
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer { Protocol = wanted }, new VhostUserFrontendOptions { WantedProtocolFeatures = wanted, HostNotifiers = doorbells });
        await dialogue.Session.SetMemoryAsync(Rings.Memory);
        await dialogue.Session.StartVringAsync(Rings[0]);
        using SharedMemory file = SharedMemory.CreateSealed("doorbell", Page);
        (await RingAsync(dialogue, file.Descriptor, Doorbell(0))).Should().Be(1);
        doorbells.Pages.Should().BeEmpty();
    }

    private static async Task<ulong> AskAsync(Dialogue dialogue, VhostUserBackendRequest request, int size, SafeHandle[] descriptors)
    {
        await dialogue.Backend.Channel!.SendAsync(VhostUserHeader.ForRequest(request, size, needReply: true), new byte[size], descriptors);
        using VhostUserMessage? reply = await dialogue.Backend.Channel.ReceiveAsync().InTime();
        return BitConverter.ToUInt64(reply!.Payload);
    }
}
