using System.Globalization;
using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>
/// Something that a proxy does to messages, written as <c>ACTION@WHICH</c>. <see cref="Parse"/> makes one, and nothing else does: what it refuses is in no rule.
/// </summary>
public sealed record FaultRule
{
    /// <summary>All actions, as they are written. Numbers may also be hexadecimal, after 0x.</summary>
    public const string Actions = "drop, delay=MILLISECONDS, duplicate, reorder, set=OFFSET:HEX, request=CODE, flags=FLAGS, size=BYTES, resize=BYTES, take-descriptors, add-descriptors=COUNT, cut=BYTES, close";

    private const string Form = "ACTION@[gpu:|backend:]MESSAGE[:reply][#N], for example drop@SET_VRING_KICK, delay=50@GET_CONFIG:reply or cut=20@SET_MEM_TABLE#2";

    internal FaultRule()
    {
    }

    /// <summary>What is done.</summary>
    public FaultAction Action { get; internal init; }

    /// <summary>The channel on which it is done.</summary>
    public VhostUserChannel Channel { get; internal init; }

    /// <summary>The request, in the numbering of the channel; null: each message.</summary>
    public uint? Request { get; internal init; }

    /// <summary>To replies, not to requests.</summary>
    public bool IsReply { get; internal init; }

    /// <summary>To which of them, counted from 1 in each session; 0: to each.</summary>
    public int Occurrence { get; internal init; }

    /// <summary>Milliseconds, a request code, flags, a size, or a number of descriptors or bytes, as the action wants.</summary>
    public uint Value { get; internal init; }

    /// <summary>Where <see cref="Bytes"/> go, from the start of the payload.</summary>
    public int Offset { get; internal init; }

    /// <summary>What <see cref="FaultAction.Set"/> puts there.</summary>
    public ReadOnlyMemory<byte> Bytes { get; internal init; }

    /// <summary>As it was written.</summary>
    public string Text { get; internal init; } = "";

    /// <summary>Reads a rule.</summary>
    /// <param name="text">
    /// <c>drop</c>, <c>duplicate</c>, <c>reorder</c>, <c>take-descriptors</c>, <c>close</c>; with a number, decimal or after 0x, <c>delay=MILLISECONDS</c>, <c>request=CODE</c>, <c>flags=FLAGS</c>, <c>size=BYTES</c>,
    /// <c>resize=BYTES</c>, <c>add-descriptors=COUNT</c>, <c>cut=BYTES</c>; <c>set=OFFSET:HEX</c>. Behind <c>@</c> the message: its name without VHOST_USER_, its code or <c>*</c>, with <c>backend:</c> or <c>gpu:</c> before it on another
    /// channel than the main one, <c>:reply</c> behind it for replies, and <c>#N</c> for the N-th alone.
    /// </param>
    /// <exception cref="FormatException">It is no rule; the message says what is wrong.</exception>
    public static FaultRule Parse(string text)
    {
        ArgumentNullException.ThrowIfNull(text);
        int at = text.IndexOf('@', StringComparison.Ordinal);
        if (at < 0)
            throw new FormatException($"'{text}' is no fault: {Form}.");
        FaultRule rule = ParseAction(text[..at], text);
        return ParseMessage(rule, text[(at + 1)..]) with { Text = text };
    }

    private static FaultRule ParseAction(string action, string text)
    {
        string[] parts = action.Split('=', 2);
        return (parts[0], parts.ElementAtOrDefault(1)) switch
        {
            ("drop", null) => new FaultRule { Action = FaultAction.Drop },
            ("duplicate", null) => new FaultRule { Action = FaultAction.Duplicate },
            ("reorder", null) => new FaultRule { Action = FaultAction.Reorder },
            ("take-descriptors", null) => new FaultRule { Action = FaultAction.TakeDescriptors },
            ("close", null) => new FaultRule { Action = FaultAction.Close },
            ("delay", { } value) => new FaultRule { Action = FaultAction.Delay, Value = Number(value, 3_600_000, text) },
            ("request", { } value) => new FaultRule { Action = FaultAction.Request, Value = Number(value, uint.MaxValue, text) },
            ("flags", { } value) => new FaultRule { Action = FaultAction.Flags, Value = Number(value, uint.MaxValue, text) },
            ("size", { } value) => new FaultRule { Action = FaultAction.Size, Value = Number(value, uint.MaxValue, text) },
            ("resize", { } value) => new FaultRule { Action = FaultAction.Resize, Value = Number(value, VhostUserProxyOptions.LargestPayload, text) },
            ("add-descriptors", { } value) => new FaultRule { Action = FaultAction.AddDescriptors, Value = Number(value, VhostUserConnection.MaxDescriptors, text) },
            ("cut", { } value) => new FaultRule { Action = FaultAction.Cut, Value = Number(value, VhostUserProxyOptions.LargestPayload, text) },
            ("set", { } value) => ParseSet(value, text),
            _ => throw new FormatException($"'{text}': '{action}' is no action, or lacks its value: one of {Actions}."),
        };
    }

    private static FaultRule ParseSet(string value, string text)
    {
        string[] parts = value.Split(':');
        if (parts.Length != 2 || parts[1].Length is 0 || parts[1].Length % 2 != 0 || !parts[1].All(char.IsAsciiHexDigit))
            throw new FormatException($"'{text}': set wants OFFSET:HEX, bytes in pairs of hexadecimal digits, for example set=8:ff00.");
        return new FaultRule { Action = FaultAction.Set, Offset = (int)Number(parts[0], VhostUserProxyOptions.LargestPayload, text), Bytes = Convert.FromHexString(parts[1]) };
    }

    private static FaultRule ParseMessage(FaultRule rule, string which)
    {
        string name = which;
        int hash = which.IndexOf('#', StringComparison.Ordinal);
        if (hash >= 0)
        {
            rule = rule with { Occurrence = (int)Number(which[(hash + 1)..], int.MaxValue, which) };
            if (rule.Occurrence == 0)
                throw new FormatException($"'{which}': messages are counted from #1.");
            name = which[..hash];
        }

        if (name.EndsWith(":reply", StringComparison.Ordinal))
            (rule, name) = (rule with { IsReply = true }, name[..^":reply".Length]);
        if (name.StartsWith("backend:", StringComparison.Ordinal))
            (rule, name) = (rule with { Channel = VhostUserChannel.Backend }, name["backend:".Length..]);
        else if (name.StartsWith("gpu:", StringComparison.Ordinal))
            (rule, name) = (rule with { Channel = VhostUserChannel.Gpu }, name["gpu:".Length..]);
        return rule with { Request = CodeOf(rule.Channel, name) };
    }

    private static uint? CodeOf(VhostUserChannel channel, string name)
    {
        if (name == "*")
            return null;
        if (TryNumber(name, out uint code))
            return code;
        MessageContract? contract = MessageContracts.All.FirstOrDefault(
            contract => contract.Channel == channel && (contract.Name == name || contract.Name.EndsWith($"_USER_{name}", StringComparison.Ordinal) || contract.Name == Prefix(channel) + name));
        return contract?.Code ?? throw new FormatException($"'{name}' is no message of the {channel} channel; give its name without VHOST_USER_, or its code.");
    }

    private static string Prefix(VhostUserChannel channel) => channel switch
    {
        VhostUserChannel.Backend => "VHOST_USER_BACKEND_",
        VhostUserChannel.Gpu => "VHOST_USER_GPU_",
        _ => "VHOST_USER_",
    };

    private static uint Number(string value, uint most, string text) => TryNumber(value, out uint number) && number <= most
        ? number
        : throw new FormatException(string.Create(CultureInfo.InvariantCulture, $"'{text}': '{value}' is no number from 0 to {most}."));

    private static bool TryNumber(string value, out uint number) => value.StartsWith("0x", StringComparison.Ordinal)
        ? uint.TryParse(value.AsSpan(2), NumberStyles.AllowHexSpecifier, CultureInfo.InvariantCulture, out number)
        : uint.TryParse(value, NumberStyles.None, CultureInfo.InvariantCulture, out number);
}
