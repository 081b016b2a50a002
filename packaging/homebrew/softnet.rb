# A formula for a tap. A release fills in REPOSITORY and the checksum of its universal archive (SHA256SUMS).
#
# Homebrew's prefix belongs to a user, and a program there must never be given root: this installs the program for what needs no
# root, its manual and completions, and says how to put a root-owned copy elsewhere.
class Softnet < Formula
  desc "Filtering network helper for virtual machines"
  homepage "https://github.com/REPOSITORY"
  url "https://github.com/REPOSITORY/releases/download/v0.1.0/softnet-0.1.0-universal-macos.tar.gz"
  sha256 "0000000000000000000000000000000000000000000000000000000000000000"
  license "Apache-2.0"

  depends_on macos: :ventura

  def install
    # Not in PATH: Tart would find it there, and ask to give it the setuid bit.
    libexec.install "softnet", "install.sh", "man", "completions"
    man1.install_symlink Dir[libexec/"man/*.1"]
    bash_completion.install_symlink libexec/"completions/softnet.bash" => "softnet"
    zsh_completion.install_symlink libexec/"completions/_softnet"
    fish_completion.install_symlink libexec/"completions/softnet.fish"
  end

  def caveats
    <<~EOS
      softnet needs root for a moment, and whoever could replace it would be root.
      So it is not started from here. Put a copy where only root may write:

        sudo PREFIX=/opt/softnet SETUID=1 #{opt_libexec}/install.sh

      and /opt/softnet/bin in front of the PATH of whoever runs Tart. Again after
      each upgrade.
    EOS
  end

  test do
    assert_match version.to_s, shell_output("#{libexec}/softnet --version")
  end
end
