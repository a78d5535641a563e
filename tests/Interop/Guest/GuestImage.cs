using Vhost.Tests.Support;

namespace Vhost.Interop.Tests.Guests;

/// <summary>Kernel and initramfs of the test guests, as <c>tests/guest-image.sh</c> makes them.</summary>
internal sealed record GuestImage(string Kernel, string Initramfs)
{
    private const string Maker = "tests/guest-image.sh";

    /// <summary>The names that documents use.</summary>
    internal static GuestImage Documented { get; } = new("vmlinuz", "initramfs.gz");

    /// <summary>What is made, or the test is skipped saying how to make it.</summary>
    internal static GuestImage Require()
    {
        GuestImage image = new(RepositoryRoot.File("out", "guest", "vmlinuz"), RepositoryRoot.File("out", "guest", "initramfs.gz"));
        Skip.IfNot(File.Exists(image.Kernel) && File.Exists(image.Initramfs), $"There is no guest in out/guest: {Maker} makes it, from Debian's package linux-image-cloud-amd64.");
        return image;
    }
}
