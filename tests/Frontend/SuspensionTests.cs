using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Frontend.Tests;

/// <summary>A device is stopped and goes on, and something goes wrong in the middle: no ring gets lost, and none goes on where it is no more.</summary>
[Collection(ProcessCounts.Name)]
public sealed class SuspensionTests : CountedTests
{
    private const VhostUserProtocolFeatures Inflight = VhostUserProtocolFeatures.InflightShmFd;
    private const VhostUserProtocolFeatures Stops = Inflight | VhostUserProtocolFeatures.GetVringBaseInflight;
    private const VhostUserProtocolFeatures Skips = Stops | VhostUserProtocolFeatures.GetVringBaseSkipDrain;

    private static readonly VhostUserFrontendOptions _inflight = new() { RequiredProtocolFeatures = Inflight };

    /// <summary>With INFLIGHT_SHMFD alone requests under way are waited for; with GET_VRING_BASE_INFLIGHT the message that has always stopped a ring does not wait for them; with GET_VRING_BASE_SKIP_DRAIN there is a message for it.</summary>
    [Theory]
    [InlineData(Inflight, true, "GET_VRING_BASE 0,0")]
    [InlineData(Stops, true, "GET_VRING_BASE 0,0")]
    [InlineData(Skips, true, "GET_VRING_BASE_SKIP_DRAIN 0,0")]
    [InlineData(Skips, false, "GET_VRING_BASE 0,0")]
    [Shows(Counterpart.Script, VhostUserRequest.GetInflightFd, VhostUserRequest.SetInflightFd, VhostUserRequest.GetVringBaseSkipDrain, VhostUserProtocolFeatures.GetVringBaseInflight, VhostUserProtocolFeatures.GetVringBaseSkipDrain)]
    public async Task A_ring_is_suspended_with_the_message_that_was_agreed_on_and_never_without_a_region(VhostUserProtocolFeatures features, bool withRegion, string message)
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().With(features), new VhostUserFrontendOptions { RequiredProtocolFeatures = features });
        using InflightRegion? region = withRegion ? await GiveRegionAsync(dialogue) : null;
        await dialogue.Session.SetMemoryAsync(Rings.Memory);
        await StartAsync(dialogue, 1);
        int mark = dialogue.Backend.Mark();
        FrontendSnapshot stopped = await dialogue.Session.SuspendAsync().InTime();
        dialogue.Backend.Since(mark).Should().Equal("SET_VRING_ENABLE 0,0 !", message);
        stopped.Rings.Should().ContainSingle().Which.Base.Should().Be(new VringBase(0));
        stopped.InflightContent.Length.Should().Be(withRegion ? 4096 : 0);
        VhostUserProtocolFeatures used = features & (withRegion ? VhostUserProtocolFeatures.GetVringBaseSkipDrain : VhostUserProtocolFeatures.None);
        (dialogue.Session.Summary.UsedProtocolFeatures & VhostUserProtocolFeatures.GetVringBaseSkipDrain).Should().Be(used);
    }

    /// <summary>Requests under way may be in the ring and not in its used part: that is what they are suspended for.</summary>
    [Theory]
    [InlineData(Stops)]
    [InlineData(Skips)]
    public async Task The_base_of_a_suspended_ring_may_be_ahead_of_what_was_used_by_no_more_than_its_size(VhostUserProtocolFeatures features)
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer { Base = 3 }.With(features), new VhostUserFrontendOptions { RequiredProtocolFeatures = features });
        using InflightRegion region = await GiveRegionAsync(dialogue);
        await dialogue.Session.SetMemoryAsync(Rings.Memory);
        await StartAsync(dialogue, 1);
        Rings.SetIndices(0, available: 3, used: 0);
        (await dialogue.Session.SuspendAsync().InTime()).Rings.Should().ContainSingle().Which.Base.Should().Be(new VringBase(3));

        await dialogue.Session.ResetDeviceAsync();
        await dialogue.Session.UseInflightRegionAsync(region);
        await StartAsync(dialogue, 1);
        Rings.SetIndices(0, available: 2, used: 0);
        await dialogue.Session.Invoking(session => session.SuspendAsync().AsTask().InTime()).Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*base 3*");
    }

    [Fact]
    public async Task A_suspension_that_is_refused_at_the_second_ring_can_be_repeated_and_has_them_all()
    {
        await using Dialogue dialogue = await ReadyAsync();
        IReadOnlyList<FrontendVring> rings = await StartAsync(dialogue, 3);
        dialogue.Backend.Misbehave = (request, _) => Is(request, VhostUserRequest.SetVringEnable, 1) ? Refusal(request) : null;
        await dialogue.Session.Invoking(session => session.SuspendAsync().AsTask()).Should().ThrowAsync<VhostUserRejectedException>();
        (rings[1].IsStarted, rings[1].IsEnabled).Should().Be((true, true), "it goes on");

        dialogue.Backend.Misbehave = null;
        int mark = dialogue.Backend.Mark();
        FrontendSnapshot stopped = await dialogue.Session.SuspendAsync().InTime();
        dialogue.Backend.Since(mark).Should().NotContain(line => line.StartsWith("GET_VRING_BASE 0", StringComparison.Ordinal));
        stopped.Rings.Select(ring => (ring.Index, ring.Base, ring.Enabled)).Should().Equal([(0, new VringBase(0), true), (1, new VringBase(0), true), (2, new VringBase(0), true)]);
        (await dialogue.Session.SuspendAsync().InTime()).Rings.Should().HaveCount(3, "nothing was started since");

        rings = await ResumeAsync(dialogue, stopped);
        rings.Should().OnlyContain(ring => ring.IsEnabled);
        await rings[0].StopAsync();
        (await dialogue.Session.SuspendAsync().InTime()).Rings.Select(ring => ring.Index).Should().Equal([1, 2], "who stops a ring himself knows where");
    }

    [Fact]
    public async Task F08_A_ring_of_which_nobody_knows_where_it_stopped_is_left_out_of_no_snapshot()
    {
        await using Dialogue dialogue = await ReadyAsync();
        await StartAsync(dialogue, 2);
        dialogue.Backend.Misbehave = (request, _) => Is(request, VhostUserRequest.GetVringBase, 0)
            ? Misbehaviour.Reply(request.Code, [0, 0, 0, 0, 77, 0, 0, 0])
            : null;
        await dialogue.Session.Invoking(session => session.SuspendAsync().AsTask()).Should().ThrowAsync<VhostUserProtocolException>().WithMessage("*base 77*");
        dialogue.Backend.Misbehave = null;
        await dialogue.Session.Invoking(session => session.SuspendAsync().AsTask()).Should().ThrowAsync<InvalidOperationException>().WithMessage("Ring 0 was stopped*ResetDeviceAsync*");
        await dialogue.Session.ResetDeviceAsync().InTime();
        (await dialogue.Session.SuspendAsync().InTime()).Rings.Should().BeEmpty();
    }

    [Fact]
    public async Task A_resumption_that_is_refused_at_the_second_ring_has_run_nothing_and_can_be_repeated()
    {
        await using Dialogue dialogue = await ReadyAsync();
        await StartAsync(dialogue, 2);
        FrontendSnapshot stopped = await dialogue.Session.SuspendAsync().InTime();
        dialogue.Backend.Misbehave = (request, _) => Is(request, VhostUserRequest.SetVringKick, 1) ? Refusal(request) : null;
        int mark = dialogue.Backend.Mark();
        await dialogue.Session.Invoking(_ => ResumeAsync(dialogue, stopped)).Should().ThrowAsync<VhostUserRejectedException>();
        dialogue.Backend.Since(mark).Should().NotContain("SET_VRING_ENABLE 0,1 !").And.Contain("GET_VRING_BASE 0,0");

        dialogue.Backend.Misbehave = null;
        (await dialogue.Session.SuspendAsync().InTime()).Rings.Should().Equal(stopped.Rings, "they are where they were");
        (await ResumeAsync(dialogue, stopped)).Should().HaveCount(2);
    }

    [Fact]
    public async Task After_a_resumption_that_is_refused_when_one_ring_runs_only_a_new_snapshot_knows_where_that_is()
    {
        await using Dialogue dialogue = await ReadyAsync();
        await StartAsync(dialogue, 2);
        FrontendSnapshot stopped = await dialogue.Session.SuspendAsync().InTime();
        Rings.SetIndices(0, 5, 5);
        dialogue.Backend.Misbehave = (request, _) =>
            Is(request, VhostUserRequest.SetVringEnable, 1) && request.Second == 1 ? Refusal(request)
            : Is(request, VhostUserRequest.GetVringBase, 0) ? Misbehaviour.Reply(request.Code, [0, 0, 0, 0, 5, 0, 0, 0])
            : null;
        await dialogue.Session.Invoking(_ => ResumeAsync(dialogue, stopped)).Should().ThrowAsync<VhostUserRejectedException>();

        dialogue.Backend.Misbehave = null;
        await dialogue.Session.Invoking(_ => ResumeAsync(dialogue, stopped)).Should().ThrowAsync<InvalidOperationException>().WithMessage("*Take another one (SuspendAsync)*");
        FrontendSnapshot now = await dialogue.Session.SuspendAsync().InTime();
        now.Rings.Select(ring => ring.Base).Should().Equal(new VringBase(5), new VringBase(0));
        int mark = dialogue.Backend.Mark();
        await ResumeAsync(dialogue, now);
        dialogue.Backend.Since(mark).Should().Contain("SET_VRING_BASE 0,5 !").And.Contain("SET_VRING_ENABLE 1,1 !");
    }

    [Fact]
    public async Task F18_A_region_for_requests_in_flight_is_a_file_that_has_room_for_it()
    {
        await using Dialogue dialogue = await Dialogue.StartAsync(new BackendOffer().With(VhostUserProtocolFeatures.InflightShmFd), _inflight);
        (SafeFileHandle reader, SafeFileHandle writer) = Libc.Pipe();
        (SafeFileHandle socket, SafeFileHandle other) = Libc.UnixSocketPair();
        using SharedMemory memory = SharedMemory.CreateSealed("inflight", 4096);
        using SafeFileHandle path = RawDescriptors.Reopen(memory.Descriptor, pathOnly: true);
        using (reader)
        using (writer)
        using (socket)
        using (other)
        {
            ProcessCounts before = ProcessCounts.Snapshot();
            await RefusedAsync(reader, new(4096, 0, 1, 16), "a file in memory is needed*pipe*");
            await RefusedAsync(socket, new(4096, 0, 1, 16), "a file in memory is needed*socket*");
            await RefusedAsync(path, new(4096, 0, 1, 16), "*a path alone*");
            await RefusedAsync(memory.Descriptor, new(4097, 0, 1, 16), "4097 bytes at 0 are not inside the file, which has 4096 bytes");
            await RefusedAsync(memory.Descriptor, new(4096, 1, 1, 16), "4096 bytes at 1 are not inside*");
            await RefusedAsync(memory.Descriptor, new(ulong.MaxValue, ulong.MaxValue, 1, 16), "*are not inside*");
            await RefusedAsync(memory.Descriptor, new(8, ulong.MaxValue - 3, 1, 16), "*are not inside*");
            before.AssertBack();
        }

        Answer(dialogue, memory.Descriptor, new(2048, 2048, 0, 0));
        using InflightRegion region = (await dialogue.Session.CreateInflightRegionAsync(1, 16).InTime())!;
        region.Area.Should().Be(new VhostUserInflight(2048, 2048, 1, 16), "it is for what was asked, whatever the answer says");

        async Task RefusedAsync(SafeHandle descriptor, VhostUserInflight area, string why)
        {
            Answer(dialogue, descriptor, area);
            await dialogue.Session.Invoking(session => session.CreateInflightRegionAsync(1, 16).AsTask().InTime())
                .Should().ThrowAsync<VhostUserProtocolException>().WithMessage($"VHOST_USER_GET_INFLIGHT_FD: {why}");
        }
    }

    private static bool Is(ScriptedRequest request, VhostUserRequest code, uint ring) => request.Code == code && (request.First & 0xff) == ring;

    private static Misbehaviour Refusal(ScriptedRequest request) => Misbehaviour.Reply(request.Code, BitConverter.GetBytes(1UL));

    private static void Answer(Dialogue dialogue, SafeHandle descriptor, VhostUserInflight area)
    {
        byte[] payload = new byte[VhostUserInflight.Size];
        area.Write(payload);
        dialogue.Backend.Misbehave = (request, _) => request.Code == VhostUserRequest.GetInflightFd ? Misbehaviour.Reply(request.Code, payload, descriptor) : null;
    }

    private static async Task<InflightRegion> GiveRegionAsync(Dialogue dialogue)
    {
        using SharedMemory memory = SharedMemory.CreateSealed("inflight", 4096);
        Answer(dialogue, memory.Descriptor, new(4096, 0, 1, TestRings.Size));
        InflightRegion region = (await dialogue.Session.CreateInflightRegionAsync(1, TestRings.Size).InTime())!;
        dialogue.Backend.Misbehave = null;
        await dialogue.Session.UseInflightRegionAsync(region);
        return region;
    }

    private Task<IReadOnlyList<FrontendVring>> ResumeAsync(Dialogue dialogue, FrontendSnapshot snapshot) =>
        dialogue.Session.ResumeAsync(snapshot, ring => ring with { Kick = Rings[ring.Index].Kick }).AsTask().InTime();

    private async Task<Dialogue> ReadyAsync()
    {
        Dialogue dialogue = await Dialogue.StartAsync();
        await dialogue.Session.SetMemoryAsync(Rings.Memory);
        return dialogue;
    }

    private async Task<IReadOnlyList<FrontendVring>> StartAsync(Dialogue dialogue, int rings) =>
        await dialogue.Session.StartVringsAsync([.. Enumerable.Range(0, rings).Select(index => Rings[index])]);
}
