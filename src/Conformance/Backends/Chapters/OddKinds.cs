using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>Descriptors that are neither an event nor memory (B10).</summary>
internal static class OddKinds
{
    public static IEnumerable<(string Kind, Func<SafeFileHandle> Open)> All =>
    [
        ("pipe", static () => First(Libc.Pipe())),
        ("socket", static () => First(Libc.UnixSocketPair())),
        ("null-device", static () => File.OpenHandle("/dev/null", access: FileAccess.ReadWrite)),
        ("read-only-file", static () => File.OpenHandle("/proc/self/status")),
        ("epoll", static () => Libc.EpollCreate()),
    ];

    public static string Named(string kind) => kind switch
    {
        "pipe" => "a pipe",
        "socket" => "a socket",
        "null-device" => "/dev/null",
        "epoll" => "an epoll descriptor",
        _ => "a file that can only be read",
    };

    private static SafeFileHandle First((SafeFileHandle First, SafeFileHandle Second) pair)
    {
        pair.Second.Dispose();
        return pair.First;
    }
}
