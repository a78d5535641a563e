using Microsoft.Extensions.Logging;
using Microsoft.Win32.SafeHandles;
using Vhost.Protocol;

namespace Vhost.Frontend;

/// <summary>Serves the channel of GPU_SET_SOCKET.</summary>
internal sealed class GpuServer : IAsyncDisposable
{
    private readonly VhostUserConnection _connection;
    private readonly IGpuDisplays _displays;
    private readonly ServedChannel _channel;

    /// <summary>Takes ownership of the connection and begins to serve.</summary>
    public GpuServer(VhostUserConnection connection, IGpuDisplays displays, ILogger log)
    {
        (_connection, _displays) = (connection, displays);
        _channel = new ServedChannel(connection, ServeAsync, () => FrontendLog.GpuChannelEnded(log), reason => FrontendLog.GpuChannelLost(log, reason));
    }

    public ValueTask DisposeAsync() => _channel.DisposeAsync();

    private async ValueTask ServeAsync(VhostUserMessage message, CancellationToken stopping)
    {
        MessageCheck check = MessageValidator.CheckRequest(VhostUserChannel.Gpu, message.Header, message.DescriptorCount, default);
        if (!check.IsValid)
            throw new VhostUserProtocolException(check.Violation, check.Explanation!);
        VhostUserGpuRequest request = (VhostUserGpuRequest)message.Header.Request;
        if (request == VhostUserGpuRequest.DmabufUpdate)
            await _displays.UpdateDmabufAsync(Read<VhostUserGpuRectangle>(message), stopping).ConfigureAwait(false);
        if (Answer(request, message) is not { } answer)
            return;
        VhostUserHeader header = new((uint)request, VhostUserHeaderFlags.Reply, (uint)answer.Length);
        await _connection.SendAsync(header, answer, default, stopping).ConfigureAwait(false);
    }

    /// <summary>Carries out what need not be waited for.</summary>
    /// <returns>The payload of the reply; null where none is due.</returns>
    private byte[]? Answer(VhostUserGpuRequest request, VhostUserMessage message)
    {
        switch (request)
        {
            case VhostUserGpuRequest.GetProtocolFeatures:
                return BitConverter.GetBytes((ulong)_displays.Features);
            case VhostUserGpuRequest.SetProtocolFeatures:
                RequireOffered(Read<VhostUserU64>(message).Value);
                return null;
            case VhostUserGpuRequest.GetDisplayInfo:
                byte[] info = new byte[VhostUserGpuDisplayInfo.Size];
                VhostUserGpuDisplayInfo.Write([.. _displays.GetDisplays()], info);
                return info;
            case VhostUserGpuRequest.GetEdid:
                Require(VhostUserGpuProtocolFeatures.Edid, request);
                byte[] edid = new byte[VhostUserGpuEdid.Size];
                VhostUserGpuEdid.Write(_displays.GetEdid(Read<VhostUserGpuEdidRequest>(message).ScanoutId).Span, edid);
                return edid;
            case VhostUserGpuRequest.DmabufUpdate:
                return [];
            default:
                Show(request, message);
                return null;
        }
    }

    private void Show(VhostUserGpuRequest request, VhostUserMessage message)
    {
        switch (request)
        {
            case VhostUserGpuRequest.CursorPos or VhostUserGpuRequest.CursorPosHide:
                _displays.MoveCursor(Read<VhostUserGpuCursorPosition>(message), request == VhostUserGpuRequest.CursorPos);
                break;
            case VhostUserGpuRequest.CursorUpdate when VhostUserGpuCursorImage.TryRead(message.Payload, out VhostUserGpuCursorImage image):
                _displays.UpdateCursor(image);
                break;
            case VhostUserGpuRequest.Scanout:
                _displays.SetScanout(Read<VhostUserGpuScanout>(message));
                break;
            case VhostUserGpuRequest.Update:
                if (!VhostUserGpuUpdate.TryRead(message.Payload, out VhostUserGpuUpdate update))
                    throw WrongPixels(message);
                _displays.Update(update);
                break;
            case VhostUserGpuRequest.DmabufScanout:
                _displays.SetDmabufScanout(new VhostUserGpuDmabufScanout2(Read<VhostUserGpuDmabufScanout>(message), 0), Take(message));
                break;
            case VhostUserGpuRequest.DmabufScanout2:
                Require(VhostUserGpuProtocolFeatures.Dmabuf2, request);
                _displays.SetDmabufScanout(Read<VhostUserGpuDmabufScanout2>(message), Take(message));
                break;
            default:
                throw Unreadable(message);
        }
    }

    private void Require(VhostUserGpuProtocolFeatures feature, VhostUserGpuRequest request)
    {
        if (!_displays.Features.HasFlag(feature))
            throw new VhostUserProtocolException(VhostUserViolation.FeatureNotNegotiated, $"{NameOf((uint)request)} needs {feature}, which is not offered");
    }

    private void RequireOffered(ulong features)
    {
        if ((features & ~(ulong)_displays.Features) != 0)
            throw new VhostUserProtocolException(VhostUserViolation.BadFeatureBits, $"VHOST_USER_GPU_SET_PROTOCOL_FEATURES: 0x{features:x} is more than was offered, 0x{(ulong)_displays.Features:x}");
    }

    private static SafeFileHandle? Take(VhostUserMessage message) => message.DescriptorCount == 0 ? null : message.TakeDescriptor(0);

    private static TPayload Read<TPayload>(VhostUserMessage message)
        where TPayload : struct, IVhostUserPayload<TPayload> =>
        TPayload.TryRead(message.Payload, out TPayload value) ? value : throw Unreadable(message);

    private static VhostUserProtocolException WrongPixels(VhostUserMessage message)
    {
        VhostUserGpuRectangle said = VhostUserGpuRectangle.TryRead(message.Payload[..VhostUserGpuRectangle.Size], out VhostUserGpuRectangle rectangle) ? rectangle : default;
        int bytes = message.Payload.Length - VhostUserGpuRectangle.Size;
        return new(VhostUserViolation.BadValue, $"VHOST_USER_GPU_UPDATE: {said.Width} × {said.Height} pixels of 4 bytes, and {bytes} bytes came");
    }

    private static VhostUserProtocolException Unreadable(VhostUserMessage message) =>
        new(VhostUserViolation.BadValue, $"{NameOf(message.Header.Request)}: the payload of {message.Payload.Length} bytes is not what the message carries");

    private static string NameOf(uint request) => MessageContracts.NameOf(VhostUserChannel.Gpu, request);
}
