using System.Globalization;
using System.Text;

namespace Vhost.Protocol;

/// <summary>Payloads of the GPU channel in words.</summary>
internal static class GpuPayloadText
{
    private static readonly CultureInfo _culture = CultureInfo.InvariantCulture;

    public static bool TryAppend(StringBuilder text, PayloadLayout layout, ReadOnlySpan<byte> payload) => layout switch
    {
        PayloadLayout.GpuCursorPosition => CursorPosition(text, payload),
        PayloadLayout.GpuCursorImage => CursorImage(text, payload),
        PayloadLayout.GpuScanout => Scanout(text, payload),
        PayloadLayout.GpuUpdate => Update(text, payload),
        PayloadLayout.GpuDmabufScanout => DmabufScanout(text, payload),
        PayloadLayout.GpuEdidRequest => EdidRequest(text, payload),
        _ => false,
    };

    private static bool CursorPosition(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserGpuCursorPosition.TryRead(payload, out VhostUserGpuCursorPosition position);
        Append(text, position);
        return read;
    }

    private static bool CursorImage(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserGpuCursorImage.TryRead(payload, out VhostUserGpuCursorImage image);
        Append(text, image.Position);
        text.Append(_culture, $", hot spot {image.HotX},{image.HotY}");
        return read;
    }

    private static void Append(StringBuilder text, in VhostUserGpuCursorPosition position) =>
        text.Append(_culture, $"scanout {position.ScanoutId}, at {position.X},{position.Y}");

    private static bool Scanout(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserGpuScanout.TryRead(payload, out VhostUserGpuScanout scanout);
        text.Append(_culture, $"scanout {scanout.ScanoutId}, {scanout.Width}x{scanout.Height}");
        return read;
    }

    private static bool Update(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        if (payload.Length < VhostUserGpuRectangle.Size)
            return false;
        VhostUserGpuRectangle rectangle = VhostUserGpuRectangle.Read(payload);
        text.Append(_culture, $"scanout {rectangle.ScanoutId}, {rectangle.Width}x{rectangle.Height} at {rectangle.X},{rectangle.Y}");
        return true;
    }

    private static bool DmabufScanout(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool second = VhostUserGpuDmabufScanout2.TryRead(payload, out VhostUserGpuDmabufScanout2 scanout2);
        VhostUserGpuDmabufScanout scanout = scanout2.Scanout;
        if (!second && !VhostUserGpuDmabufScanout.TryRead(payload, out scanout))
            return false;
        text.Append(_culture, $"scanout {scanout.ScanoutId}, {scanout.Width}x{scanout.Height} at {scanout.X},{scanout.Y} of ");
        text.Append(_culture, $"{scanout.BufferWidth}x{scanout.BufferHeight}, stride {scanout.Stride}, format 0x{unchecked((uint)scanout.FourCc):x}");
        if (second)
            text.Append(_culture, $", modifier 0x{scanout2.Modifier:x}");
        return true;
    }

    private static bool EdidRequest(StringBuilder text, ReadOnlySpan<byte> payload)
    {
        bool read = VhostUserGpuEdidRequest.TryRead(payload, out VhostUserGpuEdidRequest request);
        text.Append(_culture, $"scanout {request.ScanoutId}");
        return read;
    }
}
