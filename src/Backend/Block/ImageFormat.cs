using Microsoft.Win32.SafeHandles;

namespace Vhost.Backend;

/// <summary>
/// Knows images of other formats by how they begin. Their bytes are not those of the disk that they hold: a guest finds nothing on it, and what it writes destroys the image.
/// </summary>
internal static class ImageFormat
{
    /// <summary>Where the signature of VirtualBox lies, behind a text of its makers' choice.</summary>
    private const int VdiSignature = 0x40;

    /// <summary>Names as qemu-img has them.</summary>
    private static readonly (string Name, int Offset, byte[] Signature)[] _known =
    [
        ("qcow2", 0, [(byte)'Q', (byte)'F', (byte)'I', 0xFB]),
        ("qed", 0, [.. "QED\0"u8]),
        ("vmdk", 0, [.. "KDMV"u8]),
        ("vmdk", 0, [.. "COWD"u8]),
        ("vmdk", 0, [.. "# Disk DescriptorFile"u8]),
        ("vhdx", 0, [.. "vhdxfile"u8]),
        ("vpc", 0, [.. "conectix"u8]),
        ("parallels", 0, [.. "WithoutFreeSpace"u8]),
        ("parallels", 0, [.. "WithouFreSpacExt"u8]),
        ("vdi", VdiSignature, [0x7F, 0x10, 0xDA, 0xBE]),
    ];

    /// <exception cref="BlockStorageException">The image is of another format.</exception>
    internal static void RequireRaw(string path, SafeFileHandle file)
    {
        if (Find(file) is not { } format)
            return;
        throw new BlockStorageException(
            path,
            $"is a {format} image, and its bytes are not those of the disk in it: a guest would find nothing, and what it writes would destroy the image",
            $"Convert it (qemu-img convert -O raw {path} disk.img), or say that its bytes are to be served as they are (--raw, FileStorageOptions.Raw).");
    }

    private static string? Find(SafeFileHandle file)
    {
        Span<byte> start = stackalloc byte[(int)SectorMath.SectorSize];
        start = start[..ReadStart(file, start)];
        foreach ((string name, int offset, byte[] signature) in _known)
        {
            if (start.Length >= offset + signature.Length && start.Slice(offset, signature.Length).SequenceEqual(signature))
                return name;
        }

        return null;
    }

    private static int ReadStart(SafeFileHandle file, Span<byte> start)
    {
        try
        {
            return RandomAccess.Read(file, start, 0);
        }
        catch (IOException)
        {
            return 0; // a bad sector: the guest is told when it reads it
        }
    }
}
