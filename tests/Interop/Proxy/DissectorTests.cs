using System.Globalization;
using System.Text;
using Vhost.Protocol;
using Vhost.Proxy;
using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Proxy;

/// <summary>The dissector for Wireshark knows the messages of the contract table, and Wireshark knows the dissector.</summary>
public sealed class DissectorTests : IDisposable
{
    private const string Begin = "-- names:begin\n";
    private const string End = "-- names:end\n";

    private static readonly string _path = RepositoryRoot.File("share", "wireshark", "vhost-user.lua");

    private readonly TempFolder _folder = new();

    public void Dispose() => _folder.Dispose();

    [Fact]
    public void It_names_every_message()
    {
        string text = File.ReadAllText(_path);
        int from = text.IndexOf(Begin, StringComparison.Ordinal) + Begin.Length;
        int to = text.IndexOf(End, StringComparison.Ordinal);
        CheckedInText.Compare(_path, string.Concat(text.AsSpan(0, from), Names(), text.AsSpan(to)), "UPDATE_DOCS").Should().BeNull();
    }

    [SkippableFact]
    public async Task Wireshark_shows_a_capture_with_names_and_fields()
    {
        string tshark = Peers.Require("tshark", "tshark");
        string capture = _folder.File("capture.pcapng");
        using (PcapNgWriter writer = new(File.Create(capture), DateTimeOffset.UnixEpoch.AddYears(50)))
        {
            writer.Write(Message(1, VhostUserChannel.Main, ProxySide.FrontEnd, VhostUserHeader.ForRequest(VhostUserRequest.SetVringNum, 8, needReply: true), [3, 0, 0, 0, 0, 1, 0, 0]));
            writer.Write(Message(2, VhostUserChannel.Main, ProxySide.BackEnd, VhostUserHeader.ForRequest(VhostUserRequest.SetVringNum, 8).AsReply(8), new byte[8]));
            writer.Write(Message(3, VhostUserChannel.Backend, ProxySide.BackEnd, VhostUserHeader.ForRequest(VhostUserBackendRequest.ConfigChangeMsg, 0), []));
        }

        ChildProcess.Outcome outcome = await ChildProcess.RunAsync(
            tshark, "-X", $"lua_script:{_path}", "-r", capture, "-T", "fields", "-e", "vhost_user.name", "-e", "vhost_user.from", "-e", "vhost_user.flags.reply", "-e", "vhost_user.ring", "-e", "vhost_user.number");

        outcome.ExitCode.Should().Be(0, string.Join(" | ", outcome.Errors));
        outcome.Output.Select(static line => line.Replace("False", "0", StringComparison.Ordinal).Replace("True", "1", StringComparison.Ordinal)) // which of the two depends on its version
            .Should().Equal("VHOST_USER_SET_VRING_NUM\t0\t0\t3\t256", "VHOST_USER_SET_VRING_NUM\t1\t1\t\t", "VHOST_USER_BACKEND_CONFIG_CHANGE_MSG\t1\t0\t\t");
    }

    private static ProxyMessage Message(long number, VhostUserChannel channel, ProxySide from, VhostUserHeader header, byte[] payload) =>
        new() { Number = number, Session = 1, Channel = channel, From = from, Header = header, Payload = payload, At = TimeSpan.FromMilliseconds(number) };

    private static string Names()
    {
        StringBuilder text = new("local names = {\n");
        foreach (IGrouping<VhostUserChannel, MessageContract> channel in MessageContracts.All.GroupBy(static contract => contract.Channel).OrderBy(static group => group.Key))
        {
            text.Append(CultureInfo.InvariantCulture, $"  [{(byte)channel.Key}] = {{\n");
            foreach (MessageContract contract in channel.OrderBy(static contract => contract.Code))
                text.Append(CultureInfo.InvariantCulture, $"    [{contract.Code}] = \"{contract.Name}\",\n");
            text.Append("  },\n");
        }

        return text.Append("}\n").ToString();
    }
}
