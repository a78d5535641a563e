using System.Runtime.InteropServices;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Backend.Tests.Hostile;

/// <summary>
/// Every message of a front-end, said to a back-end with everything there is while a ring runs: as it should be, of each wrong shape, and without each feature that it needs. What is right stands in
/// <see cref="FrontendMessages"/>.
/// </summary>
[Collection(ProcessCounts.Name)]
public sealed class FrontendMessageTests
{
    private const int LastCode = 45;

    public static TheoryData<VhostUserRequest> Messages => [.. FrontendMessages.All.Select(static message => message.Request)];

    public static TheoryData<VhostUserRequest, string> Gates()
    {
        TheoryData<VhostUserRequest, string> all = [];
        foreach (FrontendMessage message in FrontendMessages.All)
        {
            foreach (MessageGate gate in message.Gates)
                all.Add(message.Request, gate.Name);
        }

        return all;
    }

    [Fact]
    public void Every_message_is_among_them() =>
        FrontendMessages.All.Select(static message => (int)message.Request).Should().Equal(Enumerable.Range(1, LastCode));

    [Theory]
    [MemberData(nameof(Messages))]
    public void The_table_of_contracts_says_the_same(VhostUserRequest request)
    {
        FrontendMessage message = FrontendMessages.Of(request);
        MessageContracts.TryGet(request, out MessageContract? contract).Should().BeTrue();

        Enumerable.Range(0, VhostUserHeader.MaxPayloadSize + 1).Where(size => contract!.Payload.Contains((uint)size)).Should().Equal(message.Sizes);
        (contract!.MinDescriptors, contract.MaxDescriptors).Should().Be((message.Fewest, message.Most));
        (contract.RequiredProtocolFeatures, contract.RequiredOfferedProtocolFeatures).Should().Be((message.Protocol, message.OfferedProtocol));
        (contract.RequiredFeatures, contract.RequiredOfferedFeatures, contract.ForbiddenFeatures).Should().Be((message.Features, message.Offered, message.Forbidden));
        // SET_LOG_BASE has an answer of its own in one of its forms.
        (contract.Reply == ReplyRule.Always).Should().Be(message.Answer is not null && request != VhostUserRequest.SetLogBase);
    }

    [Theory]
    [MemberData(nameof(Messages))]
    public async Task As_it_should_be_it_is_taken(VhostUserRequest request)
    {
        FrontendMessage message = FrontendMessages.Of(request);
        await using HostileBench bench = await MessageSession.ServeAsync(message);
        await using (MessageSession session = await MessageSession.StartAsync(bench, message, stage: MessageSession.StageOf(request)))
        {
            await session.PrepareAsync(request);
            await session.SayAsync(message);
            await session.ServesAsync();
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Theory]
    [InlineData(VhostUserRequest.IotlbMsg, 26, null)]
    [InlineData(VhostUserRequest.GetInflightFd, 20, 24)]
    [InlineData(VhostUserRequest.SetInflightFd, 20, null)]
    [InlineData(VhostUserRequest.CreateCryptoSession, VhostUserCryptoSession.WideSize, VhostUserCryptoSession.WideSize)]
    public async Task In_its_other_size_it_is_taken_too(VhostUserRequest request, int size, int? answer)
    {
        FrontendMessage message = FrontendMessages.Of(request);
        await using HostileBench bench = await MessageSession.ServeAsync(message);
        await using (MessageSession session = await MessageSession.StartAsync(bench, message, stage: MessageSession.StageOf(request)))
        {
            (byte[] payload, SafeHandle[] descriptors) = session.Legal(request);
            Array.Resize(ref payload, size);
            if (answer is null)
            {
                await session.Frontend.AcceptedAsync(request, payload, descriptors);
            }
            else
            {
                await session.Frontend.SendAsync(request, payload, descriptors);
                await session.AnsweredAsync(message with { Answer = answer });
            }

            await session.ServesAsync();
        }

        await bench.CheckInvariantsAsync(lines: 0);
    }

    [Theory]
    [MemberData(nameof(Messages))]
    public async Task B04_A_payload_of_another_size_is_refused(VhostUserRequest request)
    {
        FrontendMessage message = FrontendMessages.Of(request);
        int[] sizes = [.. message.WrongSizes];
        int[] ends = [.. new[] { sizes[0], sizes[^1] }.Distinct()];
        await using HostileBench bench = await MessageSession.ServeAsync(message);
        foreach (int size in sizes)
            await RefusedAsync(bench, message, RawFrontend.NeedReply, size, message.Usual);
        foreach (int size in ends)
            await RefusedAsync(bench, message, RawFrontend.Plain, size, message.Usual);

        await bench.CheckInvariantsAsync(sizes.Length + ends.Length);
        Complaints(bench, request, "payload of ");
    }

    [Theory]
    [MemberData(nameof(Messages))]
    public async Task B08_Another_number_of_descriptors_is_refused_and_they_are_closed(VhostUserRequest request)
    {
        FrontendMessage message = FrontendMessages.Of(request);
        int[] counts = [.. message.WrongCounts];
        await using HostileBench bench = await MessageSession.ServeAsync(message);
        foreach (int count in counts)
        {
            await RefusedAsync(bench, message, RawFrontend.NeedReply, size: null, count);
            await RefusedAsync(bench, message, RawFrontend.Plain, size: null, count);
        }

        await bench.CheckInvariantsAsync(2 * counts.Length);
        Complaints(bench, request, " descriptors");
    }

    [Theory]
    [MemberData(nameof(Gates))]
    public async Task B24_B25_Without_a_feature_that_it_needs_it_is_refused(VhostUserRequest request, string feature)
    {
        FrontendMessage message = FrontendMessages.Of(request);
        MessageGate gate = message.Gates.Single(gate => gate.Name == feature);
        await using HostileBench bench = await MessageSession.ServeAsync(message, gate);
        foreach (VhostUserHeaderFlags flags in new[] { RawFrontend.NeedReply, RawFrontend.Plain })
        {
            await using MessageSession session = await MessageSession.StartAsync(bench, message, gate);
            (byte[] payload, SafeHandle[] descriptors) = session.Legal(request);
            await RefusedAsync(session, message, flags, payload, descriptors);
        }

        await bench.CheckInvariantsAsync(lines: 2);
        Complaints(bench, request, feature + " ");
    }

    /// <summary>The message as it should be, or zeros of a size, with descriptors that mean nothing.</summary>
    private static async Task RefusedAsync(HostileBench bench, FrontendMessage message, VhostUserHeaderFlags flags, int? size, int descriptors)
    {
        using EventNotifier stray = new();
        await using MessageSession session = await MessageSession.StartAsync(bench, message);
        byte[] payload = size is { } bytes ? new byte[bytes] : session.Legal(message.Request).Payload;
        await RefusedAsync(session, message, flags, payload, [.. Enumerable.Repeat((SafeHandle)stray.Descriptor, descriptors)]);
    }

    /// <summary>Refused, and the session goes on; or its end, where nobody awaits an answer or could tell it from a refusal.</summary>
    private static async Task RefusedAsync(MessageSession session, FrontendMessage message, VhostUserHeaderFlags flags, byte[] payload, SafeHandle[] descriptors)
    {
        ProcessCounts before = ProcessCounts.Snapshot();
        await session.Frontend.SendAsync((uint)message.Request, flags, payload, descriptors);
        if (flags == RawFrontend.Plain || message.EndsWhenRefused)
        {
            await session.Frontend.ExpectClosedAsync();
            return;
        }

        (await session.Frontend.ReplyToAsync((uint)message.Request)).Should().Equal(RawFrontend.U64(1));
        await session.ServesAsync();
        before.AssertBack();
    }

    private static void Complaints(HostileBench bench, VhostUserRequest request, string reason) =>
        bench.Complaints.Should().AllSatisfy(line => line.Should().Contain(MessageContracts.NameOf(request)).And.Contain(reason));
}
