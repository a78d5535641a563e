using System.Text;
using static System.FormattableString;

namespace Vhost.Protocol;

/// <summary>Payloads of the GPU channel in words.</summary>
internal static class GpuPayloadText
{
    public static bool TryAppend(StringBuilder text, PayloadLayout layout, ReadOnlySpan<byte> payload) => layout switch
    {
        PayloadLayout.GpuCursorPosition => PayloadText.Say<VhostUserGpuCursorPosition>(text, payload, OfPosition),
        PayloadLayout.GpuCursorImage => CursorImage(text, payload),
        PayloadLayout.GpuScanout => PayloadText.Say<VhostUserGpuScanout>(
            text, payload, scanout => Invariant($"scanout {scanout.ScanoutId}, {scanout.Width}x{scanout.Height}")),
        PayloadLayout.GpuUpdate => Update(text, payload),
        PayloadLayout.GpuDmabufScanout => PayloadText.Say<VhostUserGpuDmabufScanout>(text, payload, OfDmabuf)
            || PayloadText.Say<VhostUserGpuDmabufScanout2>(text, payload, second => OfDmabuf(second.Scanout) + Invariant($", modifier 0x{second.Modifier:x}")),
        PayloadLayout.GpuEdidRequest => PayloadText.Say<VhostUserGpuEdidRequest>(text, payload, request => Invariant($"scanout {request.ScanoutId}")),
        _ => false,
    };

    private static string OfPosition(VhostUserGpuCursorPosition position) => Invariant($"scanout {position.ScanoutId}, at {position.X},{position.Y}");

    private static string OfDmabuf(VhostUserGpuDmabufScanout scanout) =>
        Invariant($"scanout {scanout.ScanoutId}, {scanout.Width}x{scanout.Height} at {scanout.X},{scanout.Y} of {scanout.BufferWidth}x{scanout.BufferHeight}, ")
        + Invariant($"stride {scanout.Stride}, format 0x{unchecked((uint)scanout.FourCc):x}");

    private static bool CursorImage(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        if (!VhostUserGpuCursorImage.TryRead(payload, out VhostUserGpuCursorImage image))
            return false;
        text.Append(OfPosition(image.Position)).Append(Invariant($", hot spot {image.HotX},{image.HotY}"));
        return true;
    }

    /// <summary>Pixels follow the rectangle; how many is not judged here.</summary>
    private static bool Update(StringBuilder text, ReadOnlySpan<byte> payload) =>
        payload.Length >= VhostUserGpuRectangle.Size && PayloadText.Say<VhostUserGpuRectangle>(text, payload[..VhostUserGpuRectangle.Size], rectangle =>
            Invariant($"scanout {rectangle.ScanoutId}, {rectangle.Width}x{rectangle.Height} at {rectangle.X},{rectangle.Y}"));
}
