using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Console;
using Microsoft.Win32.SafeHandles;
using Vhost.Backend;
using Vhost.Protocol;

namespace Vhost.Tool;

/// <summary>Any device being served, on the socket that was asked for.</summary>
internal static class DeviceServer
{
    internal static ILoggerFactory CreateLogs(SocketSettings settings) => LoggerFactory.Create(logs => logs
        .SetMinimumLevel(settings.LogLevel)
        .AddConsole(console => console.LogToStandardErrorThreshold = LogLevel.Trace)
        .AddSimpleConsole(console =>
        {
            console.SingleLine = true;
            console.ColorBehavior = LoggerColorBehavior.Disabled;
        }));

    /// <param name="device">What to serve.</param>
    /// <param name="settings">How.</param>
    /// <param name="logs">Where it logs to.</param>
    /// <param name="threads">Those that the queues share, where they do.</param>
    /// <param name="withheld">Protocol features not to offer.</param>
    internal static VhostUserBackend Create(
        IVhostUserDevice device,
        SocketSettings settings,
        ILoggerFactory logs,
        QueueThreads? threads = null,
        VhostUserProtocolFeatures withheld = VhostUserProtocolFeatures.None)
    {
        VhostUserBackendOptions options = new()
        {
            WithheldProtocolFeatures = withheld,
            AdditionalFeatures = settings.Iommu ? VirtioFeatures.AccessPlatform : VirtioFeatures.None,
            AdditionalProtocolFeatures = settings.Postcopy ? VhostUserProtocolFeatures.PageFault : VhostUserProtocolFeatures.None,
            Dispatch = settings.Dispatch,
            Processors = threads is null ? settings.Processors : [],
            Threads = threads,
            LoggerFactory = logs,
        };
        return new VhostUserBackend(device, options);
    }

    internal static async Task RunAsync(VhostUserBackend backend, string what, SocketSettings settings, CancellationToken stop)
    {
        if (settings.Descriptor is { } number)
        {
            await ServeDescriptorAsync(number, backend, what, settings, stop);
        }
        else if (settings.Client)
        {
            Announce(what, settings, "to the front-end that listens on");
            await backend.ConnectAsync(settings.Path!, stop);
        }
        else
        {
            await using VhostUserListener listener = VhostUserListener.Listen(
                settings.Path!, new VhostUserListenOptions { Mode = settings.Mode, Group = settings.Group });
            Announce(what, settings, "on");
            await backend.ListenAsync(listener, stop);
        }
    }

    /// <summary>A connected socket is served until its front-end leaves; a listening one until the end.</summary>
    private static async Task ServeDescriptorAsync(int number, VhostUserBackend backend, string what, SocketSettings settings, CancellationToken stop)
    {
        SafeFileHandle descriptor = new(number, ownsHandle: true);
        switch (InheritedSocket.Inspect(descriptor))
        {
            case InheritedSocketKind.Listening:
                await using (VhostUserListener listener = VhostUserListener.Adopt(descriptor))
                {
                    Announce(what, settings, "on listening");
                    await backend.ListenAsync(listener, stop);
                }

                break;

            case InheritedSocketKind.Connected:
                Announce(what, settings, "on connected");
                await backend.ServeAsync(VhostUserConnection.Adopt(descriptor), stop);
                break;

            default:
                descriptor.SetHandleAsInvalid();
                throw new ToolException(FormattableString.Invariant($"--fd {number}: it is neither a listening nor a connected Unix stream socket. Pass one, or use --socket-path."));
        }
    }

    private static void Announce(string what, SocketSettings settings, string how) => ToolOutput.PrintNotice($"serving {what} {how} {settings.Where}");
}
