using Vhost.Backend;
using Vhost.Frontend;
using Vhost.Protocol;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Documentation;

/// <summary>The code of docs/switch.md, word for word.</summary>
public sealed class SwitchSnippets
{
    [Fact]
    public async Task Two_guests_are_joined()
    {
        using TempFolder folder = new();
        using CancellationTokenSource stop = new();
        Task serving = ServeAsync(folder.File("a"), folder.File("b"), stop.Token);
        NetClientOptions patient = new() { Connect = new VhostUserConnectOptions { RetryFor = Eventually.Deadline } };
        SwitchStation one = new(await NetClient.ConnectAsync(folder.File("a"), patient).InTime(), 0);
        SwitchStation other = new(await NetClient.ConnectAsync(folder.File("b"), patient).InTime(), 1);
        await Eventually.TrueAsync(() => one.SendAsync(one.FrameTo(1, 1)).IsCompleted && other.ReceiveAll() is [var frame, ..] && frame.SequenceEqual(one.FrameTo(1, 1)));
        await one.Client.DisposeAsync();
        await other.Client.DisposeAsync();
        await stop.CancelAsync();
        await serving.InTime();
    }

    private static async Task ServeAsync(string socketOfA, string socketOfB, CancellationToken stop)
    {
        // snippet: switch
        using NetSwitch net = new(new NetSwitchOptions { Ports = [new() { Name = "a" }, new() { Name = "b" }] });
        await using VhostUserBackend a = new(net.Ports[0].Device);
        await using VhostUserBackend b = new(net.Ports[1].Device);
        await Task.WhenAll(a.ListenAsync(socketOfA, stop), b.ListenAsync(socketOfB, stop));

        // end
    }
}
