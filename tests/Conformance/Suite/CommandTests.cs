using System.Diagnostics.CodeAnalysis;
using Vhost.Conformance.Tests.Mutants;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Conformance.Tests;

/// <summary>Whether a network back-end serves commands is found once: it is waited for in full until it has shown, and held to it then.</summary>
[SuppressMessage("Design", "CA1001", Justification = "xunit calls DisposeAsync.")]
public sealed class CommandTests : IAsyncLifetime
{
    // What the back-end does answer has this time as well.
    private static readonly TimeSpan _patience = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan _longPatience = TimeSpan.FromMinutes(10);

    // A ring is a ring: what has no header of a block request is given back with nothing written.
    private readonly HandBackend _serves = new();

    // It looks for a split ring where the suite, to which it has said that it took the feature, has a packed one.
    private readonly HandBackend _servesNothing = new(Sin.DropsPackedBit);

    [Fact]
    public async Task One_that_serves_the_first_command_serves_commands()
    {
        BackendProfile profile = Profile(null);

        DriverRing control = await OpenAsync(_serves, profile, _longPatience).InTime();

        control.Index.Should().Be(2);
        profile.ServesCommands.Should().BeTrue();
    }

    [Fact]
    public async Task One_that_leaves_the_first_command_leaves_commands_to_the_front_end()
    {
        BackendProfile profile = Profile(null);

        (await EndsAsync(_servesNothing, profile, _patience)).Verdict.Should().Be(ConformanceVerdict.Skip);

        profile.ServesCommands.Should().BeFalse();
    }

    [Fact]
    public async Task And_is_not_waited_for_again()
    {
        BackendProfile profile = Profile(false);

        (await EndsAsync(_servesNothing, profile, _longPatience)).Verdict.Should().Be(ConformanceVerdict.Skip);

        profile.ServesCommands.Should().BeFalse();
    }

    [Fact]
    public async Task One_that_has_served_commands_owes_an_answer()
    {
        BackendProfile profile = Profile(true);

        CaseEndedException ended = await EndsAsync(_servesNothing, profile, _patience);

        ended.Verdict.Should().Be(ConformanceVerdict.Fail);
        ended.Expected.Should().Be("the first command is answered");
        profile.ServesCommands.Should().BeTrue();
    }

    public Task InitializeAsync() => Task.CompletedTask;

    public async Task DisposeAsync()
    {
        await _serves.DisposeAsync();
        await _servesNothing.DisposeAsync();
    }

    private static BackendProfile Profile(bool? servesCommands) =>
        new(DeviceModel.ByName("net")!, VirtioFeatures.None, VhostUserProtocolFeatures.None, 0, "") { ServesCommands = servesCommands };

    private static async Task<DriverRing> OpenAsync(HandBackend backend, BackendProfile profile, TimeSpan patience)
    {
        await using BackendPeer peer = await BackendPeer.ConnectAsync(backend.SocketPath, profile, CaseNeeds.Packed, new Dialogue(), new(patience));
        NetCard card = await NetCard.OpenAsync(peer);
        return await card.OpenControlAsync();
    }

    private static async Task<CaseEndedException> EndsAsync(HandBackend backend, BackendProfile profile, TimeSpan patience)
    {
        Func<Task> open = () => OpenAsync(backend, profile, patience).InTime();
        return (await open.Should().ThrowAsync<CaseEndedException>()).Which;
    }
}
