using Vhost.Protocol;

namespace Vhost.Backend;

// The displays of a GPU's front-end.
internal sealed partial class BackendSession
{
    private VhostUserGpuChannel? _gpu;

    private async ValueTask<Answer> SetGpuSocketAsync(VhostUserMessage message)
    {
        const string Name = "VHOST_USER_GPU_SET_SOCKET";
        if (_device is not IGpuDevice device)
            return Answer.Ignore(VhostUserViolation.UnknownRequest, $"{Name} is for a GPU, which this device is not");
        if (RefuseWhileTransferring(Name) is { } wait)
            return wait;
        if (TryAdopt(message.TakeDescriptor(0), out string why) is not { } connection)
            return Answer.Refuse(VhostUserViolation.BadDescriptor, $"{Name}: {why}");
        VhostUserGpuChannel channel = new(connection, _options.TimeProvider, _logger);
        if (TryCallDevice(() => device.UseDisplays(channel), out string failure))
        {
            await CloseGpuChannelAsync().ConfigureAwait(false);
            _gpu = channel;
            return Answer.Done;
        }

        await channel.CloseAsync().ConfigureAwait(false);
        return Answer.Refuse(VhostUserViolation.WrongState, $"{Name}{failure}");
    }

    private async Task CloseGpuChannelAsync()
    {
        if (_gpu is not { } gpu)
            return;
        _gpu = null;
        await gpu.CloseAsync().ConfigureAwait(false);
    }
}
