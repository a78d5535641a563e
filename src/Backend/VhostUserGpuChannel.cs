using System.Diagnostics.CodeAnalysis;
using System.Runtime.InteropServices;
using Microsoft.Extensions.Logging;
using Vhost.Protocol;

namespace Vhost.Backend;

/// <summary>
/// What a GPU back-end shows to its front-end (vhost-user-gpu; the socket of GPU_SET_SOCKET): one method for each request, with the display on the other side.
/// </summary>
/// <remarks>
/// <para>Any thread, except that of a session; requests go out one at a time, in the order of the calls. Cancelling is free until a request has left; then, where an answer is awaited, it ends the channel.</para>
/// <para>
/// Each method may throw <see cref="VhostUserDisconnectedException"/> (the channel has ended), <see cref="VhostUserTimeoutException"/> (the front-end does not read or does not answer) and, where an answer is awaited,
/// <see cref="VhostUserProtocolException"/>.
/// </para>
/// </remarks>
[SuppressMessage("Design", "CA1001", Justification = "The session closes it: CloseAsync.")]
public sealed class VhostUserGpuChannel
{
    /// <summary>Most pixels of one <see cref="UpdateAsync"/>: a front-end takes no more.</summary>
    public const int MostPixels = 8192 * 8192;

    private readonly RequestChannel _channel;

    internal VhostUserGpuChannel(VhostUserConnection connection, TimeProvider time, ILogger logger)
    {
        _channel = new RequestChannel(connection, VhostUserChannel.Gpu, new RequestChannelOptions { TimeProvider = time, Logger = logger });
        _channel.Start();
    }

    /// <summary>Ends with the channel; faulted with the reason, or successful when the session has closed it.</summary>
    public Task Completion => _channel.Completion;

    /// <summary>GET_PROTOCOL_FEATURES (1): what the front-end can do.</summary>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    public async ValueTask<VhostUserGpuProtocolFeatures> GetProtocolFeaturesAsync(CancellationToken cancellationToken = default)
    {
        using VhostUserMessage reply = await CallAsync(VhostUserGpuRequest.GetProtocolFeatures, default, cancellationToken).ConfigureAwait(false);
        return VhostUserU64.TryRead(reply.Payload, out VhostUserU64 value) ? (VhostUserGpuProtocolFeatures)value.Value : throw Malformed(VhostUserGpuRequest.GetProtocolFeatures);
    }

    /// <summary>SET_PROTOCOL_FEATURES (2): what of it is used.</summary>
    /// <param name="features">A part of what was offered.</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    public ValueTask SetProtocolFeaturesAsync(VhostUserGpuProtocolFeatures features, CancellationToken cancellationToken = default) =>
        SendAsync(VhostUserGpuRequest.SetProtocolFeatures, new VhostUserU64((ulong)features), null, cancellationToken);

    /// <summary>GET_DISPLAY_INFO (3): where and how large the displays are.</summary>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    /// <returns>Sixteen displays by scanout.</returns>
    public async ValueTask<VhostUserGpuDisplay[]> GetDisplayInfoAsync(CancellationToken cancellationToken = default)
    {
        using VhostUserMessage reply = await CallAsync(VhostUserGpuRequest.GetDisplayInfo, default, cancellationToken).ConfigureAwait(false);
        return ReadDisplays(reply.Payload);
    }

    /// <summary>GET_EDID (11): how a display describes itself. Only with EDID.</summary>
    /// <param name="scanout">The display.</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    /// <returns>The bytes of the EDID, at most 1024.</returns>
    public async ValueTask<byte[]> GetEdidAsync(uint scanout, CancellationToken cancellationToken = default)
    {
        using VhostUserMessage reply = await CallAsync(VhostUserGpuRequest.GetEdid, PayloadBytes.Of(new VhostUserGpuEdidRequest(scanout)), cancellationToken).ConfigureAwait(false);
        return VhostUserGpuEdid.TryRead(reply.Payload, out VhostUserGpuEdid edid) ? edid.Data.ToArray() : throw Malformed(VhostUserGpuRequest.GetEdid);
    }

    /// <summary>CURSOR_POS (4) or CURSOR_POS_HIDE (5).</summary>
    /// <param name="position">Where.</param>
    /// <param name="visible">Whether it is shown.</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    public ValueTask MoveCursorAsync(VhostUserGpuCursorPosition position, bool visible = true, CancellationToken cancellationToken = default) =>
        SendAsync(visible ? VhostUserGpuRequest.CursorPos : VhostUserGpuRequest.CursorPosHide, position, null, cancellationToken);

    /// <summary>CURSOR_UPDATE (6): another image.</summary>
    /// <param name="position">Where.</param>
    /// <param name="hotX">The column of the image that is at the position.</param>
    /// <param name="hotY">The row of the image that is at the position.</param>
    /// <param name="pixels">64 × 64 pixels of 4 bytes (a8r8g8b8).</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    /// <exception cref="ArgumentException">There are more or fewer pixels.</exception>
    public ValueTask UpdateCursorAsync(VhostUserGpuCursorPosition position, uint hotX, uint hotY, ReadOnlyMemory<byte> pixels, CancellationToken cancellationToken = default)
    {
        if (pixels.Length != VhostUserGpuCursorImage.PixelBytes)
            throw new ArgumentException($"{pixels.Length} bytes; a cursor has 64 × 64 pixels of 4 bytes, {VhostUserGpuCursorImage.PixelBytes}.", nameof(pixels));
        byte[] payload = new byte[VhostUserGpuCursorImage.Size];
        VhostUserGpuCursorImage.Write(position, hotX, hotY, pixels.Span, payload);
        return SendAsync(VhostUserGpuRequest.CursorUpdate, payload, default, cancellationToken);
    }

    /// <summary>SCANOUT (7): the size of a display; 0 × 0 turns it off.</summary>
    /// <param name="scanout">The display and its size.</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    public ValueTask SetScanoutAsync(VhostUserGpuScanout scanout, CancellationToken cancellationToken = default) => SendAsync(VhostUserGpuRequest.Scanout, scanout, null, cancellationToken);

    /// <summary>UPDATE (8): new pixels in a part of a display.</summary>
    /// <param name="rectangle">Which part.</param>
    /// <param name="pixels">Width × height pixels of 4 bytes (x8r8g8b8), at most <see cref="MostPixels"/>.</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    /// <exception cref="ArgumentException">There are more or fewer pixels, or too many.</exception>
    public ValueTask UpdateAsync(VhostUserGpuRectangle rectangle, ReadOnlyMemory<byte> pixels, CancellationToken cancellationToken = default)
    {
        if (pixels.Length / 4 > MostPixels)
            throw new ArgumentException($"{pixels.Length / 4} pixels; an update has at most {MostPixels}.", nameof(pixels));
        byte[] payload = new byte[VhostUserGpuRectangle.Size + pixels.Length];
        VhostUserGpuUpdate.Write(rectangle, pixels.Span, payload);
        return SendAsync(VhostUserGpuRequest.Update, payload, default, cancellationToken);
    }

    /// <summary>DMABUF_SCANOUT (9): a display shows a dma-buf from now on.</summary>
    /// <param name="scanout">The display and the layout of the buffer.</param>
    /// <param name="buffer">The dma-buf, borrowed for the call; null turns the display off.</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    public ValueTask SetDmabufScanoutAsync(VhostUserGpuDmabufScanout scanout, SafeHandle? buffer, CancellationToken cancellationToken = default) =>
        SendAsync(VhostUserGpuRequest.DmabufScanout, scanout, buffer, cancellationToken);

    /// <summary>DMABUF_SCANOUT2 (12): the same with a modifier. Only with DMABUF2.</summary>
    /// <param name="scanout">The display, the layout of the buffer, and the modifier.</param>
    /// <param name="buffer">The dma-buf, borrowed for the call.</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    public ValueTask SetDmabufScanoutAsync(VhostUserGpuDmabufScanout2 scanout, SafeHandle buffer, CancellationToken cancellationToken = default)
    {
        ArgumentNullException.ThrowIfNull(buffer);
        return SendAsync(VhostUserGpuRequest.DmabufScanout2, scanout, buffer, cancellationToken);
    }

    /// <summary>DMABUF_UPDATE (10): a part of the dma-buf has changed.</summary>
    /// <param name="rectangle">Which part.</param>
    /// <param name="cancellationToken">See the remarks of the class.</param>
    /// <returns>Ends when it is on the display, and the buffer may be drawn to again.</returns>
    public async ValueTask UpdateDmabufAsync(VhostUserGpuRectangle rectangle, CancellationToken cancellationToken = default) =>
        (await CallAsync(VhostUserGpuRequest.DmabufUpdate, PayloadBytes.Of(rectangle), cancellationToken).ConfigureAwait(false)).Dispose();

    internal ValueTask CloseAsync() => _channel.DisposeAsync();

    private static VhostUserGpuDisplay[] ReadDisplays(ReadOnlySpan<byte> payload)
    {
        if (!VhostUserGpuDisplayInfo.TryRead(payload, out VhostUserGpuDisplayInfo info))
            throw Malformed(VhostUserGpuRequest.GetDisplayInfo);
        VhostUserGpuDisplay[] displays = new VhostUserGpuDisplay[VhostUserGpuDisplayInfo.MaxScanouts];
        for (int i = 0; i < displays.Length; i++)
            displays[i] = info[i];
        return displays;
    }

    private ValueTask<VhostUserMessage> CallAsync(VhostUserGpuRequest request, ReadOnlyMemory<byte> payload, CancellationToken cancellationToken) =>
        _channel.CallAsync(VhostUserHeader.ForRequest(request, payload.Length), payload, default, cancellationToken);

    private ValueTask SendAsync(VhostUserGpuRequest request, ReadOnlyMemory<byte> payload, ReadOnlyMemory<SafeHandle> descriptors, CancellationToken cancellationToken) =>
        _channel.SendAsync(VhostUserHeader.ForRequest(request, payload.Length), payload, descriptors, cancellationToken);

    private ValueTask SendAsync<TPayload>(VhostUserGpuRequest request, TPayload payload, SafeHandle? descriptor, CancellationToken cancellationToken)
        where TPayload : struct, IVhostUserPayload<TPayload> =>
        SendAsync(request, PayloadBytes.Of(payload), descriptor is null ? default : new[] { descriptor }, cancellationToken);

    private static VhostUserProtocolException Malformed(VhostUserGpuRequest request) =>
        new(VhostUserViolation.BadValue, $"{MessageContracts.NameOf(VhostUserChannel.Gpu, (uint)request)}: the reply is not an answer to it.") { RequestCode = (uint)request };
}
