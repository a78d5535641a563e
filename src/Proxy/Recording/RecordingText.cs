using Vhost.Protocol;

namespace Vhost.Proxy;

/// <summary>The words of a recording.</summary>
internal static class RecordingText
{
    internal const string Format = "vhost-user recording";
    internal const int Version = 1;

    private static readonly (string Word, VhostUserChannel Value)[] _channels = [("main", VhostUserChannel.Main), ("back-end", VhostUserChannel.Backend), ("gpu", VhostUserChannel.Gpu)];
    private static readonly (string Word, ProxySide Value)[] _sides = [("front-end", ProxySide.FrontEnd), ("back-end", ProxySide.BackEnd)];

    private static readonly (string Word, ProxyDescriptorKind Value)[] _kinds =
    [
        ("memory", ProxyDescriptorKind.Memory), ("file", ProxyDescriptorKind.File), ("event", ProxyDescriptorKind.Event), ("socket", ProxyDescriptorKind.Socket), ("pipe", ProxyDescriptorKind.Pipe),
        ("userfaultfd", ProxyDescriptorKind.UserFaults), ("other", ProxyDescriptorKind.Other),
    ];

    internal static string Of(VhostUserChannel channel) => WordOf(_channels, channel);

    internal static string Of(ProxySide side) => WordOf(_sides, side);

    internal static string Of(ProxyDescriptorKind kind) => WordOf(_kinds, kind);

    internal static VhostUserChannel Channel(string? word) => ValueOf(_channels, word, "channel");

    internal static ProxySide Side(string? word) => ValueOf(_sides, word, "from");

    internal static ProxyDescriptorKind Kind(string? word) => ValueOf(_kinds, word, "kind");

    private static string WordOf<T>((string Word, T Value)[] words, T value) => Array.Find(words, word => EqualityComparer<T>.Default.Equals(word.Value, value)).Word;

    private static T ValueOf<T>((string Word, T Value)[] words, string? word, string field)
    {
        int at = Array.FindIndex(words, known => known.Word == word);
        return at >= 0 ? words[at].Value : throw new InvalidDataException($"{field} '{word}' is none of {string.Join(", ", words.Select(static known => known.Word))}");
    }
}
